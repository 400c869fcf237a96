"""--help of every script that is called by its name: it is there, and it names every option."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY

SOURCED = {"parse_options.sh", "stamp.sh", "stages.sh"}
SCRIPTS = sorted(
    path.relative_to(REPOSITORY)
    for pattern in ("utils/*.sh", "utils/*.pl", "local/*.sh", "tools/*.sh", "egs/*/run*.sh")
    for path in REPOSITORY.glob(pattern)
    if path.name not in SOURCED
)


def call(script: Path, *words: str) -> subprocess.CompletedProcess:
    """Call a script with this Python, those of local/ from an egs folder."""
    folder = REPOSITORY / "egs" / "own" if script.parts[0] == "local" else REPOSITORY
    program = [] if script.suffix == ".pl" else ["bash"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [*program, REPOSITORY / script, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_help_says_how_it_is_called_and_names_every_option(script):
    done = call(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^usage: ", done.stdout, re.MULTILINE | re.IGNORECASE)
    text = (REPOSITORY / script).read_text()
    before = re.split(r"^\. .*parse_options\.sh", text, maxsplit=1, flags=re.MULTILINE)[0]
    if before == text or script.parts[0] == "egs":  # those of run.sh are looked at with the driver
        return
    options = set(re.findall(r"^ {0,2}([a-z][a-z0-9_]*)=", before, re.MULTILINE)) - {"help_message"}
    missing = [name for name in sorted(options) if f"--{name.replace('_', '-')}" not in done.stdout]
    assert options and not missing


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name != "test.sh"], ids=str)
def test_an_unknown_option_is_one_line_and_status_2(script):
    done = call(script, "--hepl")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "--help" in done.stderr  # before or after what is wrong: words that are missing may be named first

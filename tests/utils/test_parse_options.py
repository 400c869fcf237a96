import os
import subprocess
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
stage=0
stop_stage=100
macs_budget=
force=false
per_utt=false
option_flags=per_utt
trials=()
sets=(dev test)
help_message="Usage: script.sh [options]
second line"
. {REPOSITORY}/utils/parse_options.sh
for name in stage stop_stage macs_budget force per_utt; do printf '%s=%s\\0' "$name" "${{!name}}"; done
printf 'trials=%s\\0' "${{trials[*]+"${{trials[*]}}"}}"
printf 'sets=%s\\0' "${{sets[*]}}"
printf 'rest=%s\\0' "$#:$*"
"""


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options") / "script.sh"
    path.write_text(SCRIPT)
    return path


def call(script: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    result = subprocess.run(["bash", script, *words], capture_output=True, env=environment, timeout=60)
    return subprocess.CompletedProcess(words, result.returncode, result.stdout.decode(), result.stderr.decode())


def values(script: Path, *words: str) -> dict[str, str]:
    result = call(script, *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return dict(item.split("=", 1) for item in result.stdout.split("\0")[:-1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--stage", "4"], {"stage": "4"}),
        (["--stage=4", "--macs-budget=204M 571M"], {"stage": "4", "macs_budget": "204M 571M"}),
        (["--macs_budget", "204M"], {"macs_budget": "204M"}),
        (["--macs_budget=a=b"], {"macs_budget": "a=b"}),
        (["--macs-budget", ""], {"macs_budget": ""}),
        (["--force", "true", "data"], {"force": "true", "rest": "1:data"}),
        (["--force"], {"force": "true"}),
        (["--force", "--stage", "2"], {"force": "true", "stage": "2"}),
        (["--per-utt", "data", "4"], {"per_utt": "true", "rest": "2:data 4"}),
        (["--per-utt", "false", "data"], {"per_utt": "false", "rest": "1:data"}),
        (["--stage", "1", "data", "--stage", "2"], {"stage": "1", "rest": "3:data --stage 2"}),
        (["--", "--stage"], {"rest": "1:--stage"}),
        (["--macs-budget=--stage"], {"macs_budget": "--stage"}),
        (["--macs-budget", "--other x"], {"macs_budget": "--other x"}),
        (["--trials", "a b", "--trials=c"], {"trials": "a b c", "sets": "dev test"}),
        (["--sets", "train"], {"sets": "train"}),
    ],
)
def test_values(script: Path, words: list[str], expected: dict[str, str]) -> None:
    defaults = {"stage": "0", "stop_stage": "100", "macs_budget": "", "force": "false", "per_utt": "false"}
    defaults |= {"trials": "", "sets": "dev test", "rest": "0:"}
    assert values(script, *words) == defaults | expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage"], "--stage needs a value"),
        (["--force", "true", "--macs-budget"], "--macs-budget needs a value"),
        (["--stage", "--force", "true"], "--stage needs a value; the option --force follows it"),
        (["--force", "yes"], "--force takes true or false, not 'yes'"),
        (["--force=1"], "--force takes true or false, not '1'"),
        (["--stge", "4"], "unknown option --stge (did you mean --stage?)"),
        (["--macs-bugdet=4"], "unknown option --macs-bugdet (did you mean --macs-budget?)"),
        (["--stop", "4"], "unknown option --stop (did you mean --stop-stage?)"),
        (["--quite-another", "4"], "unknown option --quite-another; --help"),
        (["--PATH", "/nowhere"], "unknown option --PATH"),
        (["--help-message", "x"], "unknown option --help-message"),
        (["--stage;id", "4"], "unknown option --stage;id"),
        (["--config", "/nowhere/file"], "--config: cannot read the file '/nowhere/file'"),
    ],
)
def test_errors_are_one_line(script: Path, words: list[str], message: str) -> None:
    result = call(script, *words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"script.sh: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help(script: Path, word: str) -> None:
    result = call(script, "--stage", "3", word, "--no-such")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Usage: script.sh [options]\nsecond line\n", "")


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_values_arrive_as_they_are(script: Path, text: str) -> None:
    got = values(script, f"--macs-budget={text}", "--trials", f"x{text}", "--", text)
    assert (got["macs_budget"], got["trials"], got["rest"]) == (text, f"x{text}", f"1:{text}")


@pytest.mark.parametrize("text", ["$(touch evil)", "`touch evil`", "a[$(touch evil)]", "; touch evil", "%s\\n"])
def test_nothing_is_evaluated(script: Path, text: str) -> None:
    assert values(script, "--macs-budget", text, "--trials", text)["trials"] == text
    assert call(script, f"--{text}", "1").returncode == 2
    assert not list(Path.cwd().glob("evil"))


def test_config_is_read_first_and_the_command_line_wins(script: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.conf"
    config.write_text(
        "# comment\n\nstage=3\n--stop-stage 7\n--force=true\n"
        "macs_budget=\"204M 571M\"  # two\ntrials=a\ntrials='b $c'\nsets=train\r\n"
    )
    got = values(script, "--stage", "5", "--config", str(config), "--sets", "x", "rest")
    assert got["stage"] == "5"
    assert (got["stop_stage"], got["force"], got["macs_budget"]) == ("7", "true", "204M 571M")
    assert (got["trials"], got["sets"], got["rest"]) == ("a b $c", "x", "1:rest")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stge=3", "unknown option --stge (did you mean --stage?)"),
        ("macs_budget=$HOME", "nothing is expanded in this file"),
        ('macs_budget="$(id)"', "nothing is expanded in this file"),
        ("macs_budget=204M 571M", "cannot read the value 204M 571M"),
        ('macs_budget="204M', 'cannot read the value "204M'),
        ("stage 3", "expected name=value, found: stage 3"),
        ("touch evil", "expected name=value"),
        ("force=yes", "--force takes true or false, not 'yes'"),
    ],
)
def test_config_errors_name_file_and_line(script: Path, tmp_path: Path, line: str, message: str) -> None:
    config = tmp_path / "my.conf"
    config.write_text(f"stage=1\n{line}\n")
    result = call(script, "--config", str(config))
    assert result.returncode == 2
    assert f"{config}:2: {message}" in result.stderr
    assert result.stderr.count("\n") == 1

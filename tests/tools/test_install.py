"""tools/install.sh with a Python that stands in: what it asks pip for, what it says, what it leaves alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# Answers as install.sh's questions expect, with what the files beside it say; notes the calls of pip.
STAND_IN = """#!/usr/bin/env bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
echo "$*" >> "$here/calls"
answer() { [ ! -e "$here/$1" ] || cat "$here/$1"; }
case "$1 $2" in
  "-c import sys"*) answer version ;;
  "-c import venv"*) [ ! -e "$here/no_venv" ] ;;
  "-m venv")
    mkdir -p "${!#}/bin" && cp "$here"/* "${!#}/bin/" && mv "${!#}/bin/python3" "${!#}/bin/python"
    echo "$*" > "$here/made" ;;
  "-m pip")
    [ "$3" = --version ] && exit 0
    previous=
    for word in "$@"; do
      [ "$previous" != -c ] || cp "$word" "$here/constraints"
      previous=$word
    done
    answer pip_log
    [ ! -e "$here/pip_log" ] ;;
  "- "*)
    if grep -q kaldiio; then
      [ ! -e "$here/broken" ] || { echo "OSError: libtorch.so: cannot open" >&2; exit 1; }
      echo "$here/version"
      echo "Python stands in"
    else
      answer torch
    fi ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with what install.sh reads, and a folder bin with the stand-in."""
    for name in ("tools/install.sh", "tools/constraints.txt", "utils/parse_options.sh", "setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(STAND_IN)
    (tmp_path / "bin/python3").chmod(0o755)
    (tmp_path / "bin/version").write_text("3.12.1\n")
    return tmp_path


def install(tree: Path, *words: str, python: str | None = "bin/python3") -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "ETDNN_PYTHON"}
    environment["TMPDIR"] = str(tree)
    if python:
        environment["ETDNN_PYTHON"] = str(tree / python)
    else:
        environment["PATH"] = f"{tree}/bin:{environment['PATH']}"
    command = ["bash", tree / "tools/install.sh", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tree)


def pip_calls(folder: Path) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if line.startswith("-m pip install")]


def test_constraints_hold_the_requirements() -> None:
    lines = (REPOSITORY / "tools/constraints.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert versions["torch"] == "2.13.0"
    setup = (REPOSITORY / "setup.py").read_text()
    known = {name.lower().replace("_", "-") for name in versions}
    for name in (
        "torchaudio",
        "numpy",
        "scipy",
        "soundfile",
        "kaldiio",
        "safetensors",
        "PyYAML",
        "tqdm",
        "ruff",
        "onnx",
    ):
        assert name in setup
        assert name.lower() in known


def test_installs_once_then_is_silent_and_asks_nothing(tree: Path) -> None:
    first = install(tree)
    assert first.returncode == 0, first.stderr
    assert "installed: Python stands in" in first.stderr
    (call,) = pip_calls(tree / "bin")
    assert call.endswith("-e .[mini,plots]")
    assert (tree / "bin/constraints").read_text() == (tree / "tools/constraints.txt").read_text()
    calls = (tree / "bin/calls").read_text()
    second = install(tree)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (tree / "bin/calls").read_text() == calls


def test_installs_again_when_something_changed(tree: Path) -> None:
    assert install(tree).returncode == 0
    assert install(tree, "--extras", "test").returncode == 0
    assert pip_calls(tree / "bin")[-1].endswith("-e .[mini,plots,test]")
    assert install(tree, "--extras=test,mini").stderr == ""
    for name in ("setup.py", "tools/constraints.txt"):
        with (tree / name).open("a") as handle:
            handle.write("# changed\n")
        before = len(pip_calls(tree / "bin"))
        assert install(tree).returncode == 0
        assert len(pip_calls(tree / "bin")) == before + 1
        assert pip_calls(tree / "bin")[-1].endswith("-e .[mini,plots,test]")


@pytest.mark.parametrize("version", ["2.12.0+cu126", "2.13.0+cpu"])
def test_keeps_a_torch_that_works(tree: Path, version: str) -> None:
    (tree / "bin/torch").write_text(f"{version}\n")
    result = install(tree)
    assert result.returncode == 0
    assert f"keeping torch {version}" in result.stderr
    lines = (tree / "bin/constraints").read_text().splitlines()
    assert [line for line in lines if line.startswith("torch==")] == [f"torch=={version}"]
    assert "torchaudio==2.11.0" in lines


def test_makes_a_venv_that_sees_the_torch_of_its_python(tree: Path) -> None:
    result = install(tree, python=None)
    assert result.returncode == 0, result.stderr
    assert "--system-site-packages" not in (tree / "bin/made").read_text()
    assert "making tools/venv" in result.stderr
    assert install(tree, python=None).stderr == ""
    shutil.rmtree(tree / "tools/venv")
    (tree / "bin/torch").write_text("2.12.0+cu126\n")
    assert install(tree, python=None).returncode == 0
    assert "--system-site-packages" in (tree / "bin/made").read_text()


def test_a_half_made_venv_is_made_again(tree: Path) -> None:
    (tree / "tools/venv/bin").mkdir(parents=True)
    result = install(tree, python=None)
    assert result.returncode == 0, result.stderr
    assert "making tools/venv" in result.stderr
    assert (tree / "tools/venv/bin/python").is_file()


def test_wheels_need_no_network(tree: Path) -> None:
    (tree / "my wheels").mkdir()
    assert install(tree, "--wheels", "my wheels").returncode == 0
    assert f"--no-index --find-links {tree}/my wheels" in pip_calls(tree / "bin")[0]


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        ({"version": "3.9.2\n"}, [], "Python 3.11 or newer is needed; {tree}/bin/python3 is 3.9.2"),
        ({"version": ""}, [], "{tree}/bin/python3 does not run"),
        ({"pip_log": "x\nERROR: failed: NewConnectionError(...)\n"}, [], "no network: pip cannot reach its index"),
        ({"pip_log": "error: externally-managed-environment\n"}, [], "belongs to the system and takes no packages"),
        ({"pip_log": "ERROR: some reason\nhint\n"}, [], "pip failed: ERROR: some reason; pip's log: "),
        (
            {"pip_log": "ERROR: No matching distribution found for x>=4\n"},
            ["--wheels=bin"],
            "fitting wheel for x>=4",
        ),
        ({"pip_log": "OSError: [Errno 28] No space left on device\n"}, [], "no space left on the disk"),
        ({"pip_log": "ERROR: No matching distribution found for x>=4\n"}, [], "pip finds no x>=4 (PIP_NO_INDEX, or"),
        ({"broken": ""}, [], "what was installed does not run: OSError: libtorch.so: cannot open"),
        ({}, ["--wheels", "nowhere"], "--wheels: no such folder"),
        ({}, ["--extra", "test"], "unknown option --extra (did you mean --extras?)"),
    ],
)
def test_failures_say_what_is_missing(tree: Path, files: dict[str, str], words: list[str], message: str) -> None:
    for name, text in files.items():
        (tree / "bin" / name).write_text(text)
    result = install(tree, *words)
    assert result.returncode == (2 if message.startswith("unknown option") else 1)
    assert message.format(tree=tree) in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (tree / "tools/.installed").exists()


def test_no_python_and_no_venv_module(tree: Path) -> None:
    result = install(tree, python="bin/nowhere")
    assert (result.returncode, "is no program" in result.stderr) == (1, True)
    (tree / "bin/no_venv").write_text("")
    result = install(tree, python=None)
    assert (result.returncode, "has no venv module" in result.stderr) == (1, True)
    assert not (tree / "tools/venv").exists()

"""tools/install_web.sh in a copy of the tree: what it says when onnxruntime-web cannot be had."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("bash", "dirname", "openssl", "base64", "tr", "tar", "gzip", "mktemp", "rm", "mkdir", "mv", "chmod", "cat",
         "sed", "head", "sort")  # fmt: skip


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A tree of the script, and a PATH of the programs it uses, npm not among them."""
    for name in ("tools/install_web.sh", "utils/parse_options.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def install(tree: Path, *words: str) -> subprocess.CompletedProcess:
    command = ["bash", "tools/install_web.sh", *words]
    environment = {**os.environ, "PATH": str(tree / "bin")}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "npm is not on PATH (Debian, Ubuntu: apt install npm); without it use --tarball FILE (--help)"),
        (["--tarball", "none.tgz"], "--tarball: no such file: none.tgz"),
        (["--tarball", "other.tgz"], "other.tgz is not onnxruntime-web 1."),
    ],
)
def test_failures_take_one_line_and_change_nothing(tree: Path, words: list[str], message: str) -> None:
    (tree / "other.tgz").write_text("another file")
    (tree / "tools" / "web").mkdir()
    (tree / "tools" / "web" / "VERSION").write_text("0.9.0\n")
    result = install(tree, *words)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"install_web.sh: error: {message}") and result.stderr.count("\n") == 1
    assert sorted(path.name for path in (tree / "tools").iterdir()) == ["install_web.sh", "web"]
    assert (tree / "tools" / "web" / "VERSION").read_text() == "0.9.0\n"


def test_what_is_in_place_is_left_alone(tree: Path) -> None:
    script = (tree / "tools" / "install_web.sh").read_text()
    web = tree / "tools" / "web"
    web.mkdir()
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (web / name).write_text("content")
    (web / "VERSION").write_text(script.split("\nVERSION=")[1].split("\n")[0] + "\n")
    result = install(tree)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (web / "ort.wasm.min.mjs").unlink()
    assert install(tree).returncode == 1, "a file is missing: installed again"


def test_help_names_the_way_without_a_network(tree: Path) -> None:
    result = install(tree, "--help")
    assert result.returncode == 0 and "npm pack onnxruntime-web@" in result.stdout

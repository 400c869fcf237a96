import subprocess
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY


def call(folder: Path, line: str) -> subprocess.CompletedProcess:
    script = f"set -euo pipefail; . {REPOSITORY}/utils/stamp.sh; {line}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in put").write_text("one\n")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a").write_text("a\n")
    return tmp_path


ARGUMENTS = "out/.done $'nj=4\\nseed=0' 'in put' dir"


def test_written_stamp_is_current_until_something_changes(folder: Path) -> None:
    assert call(folder, f"stamp_current {ARGUMENTS}").returncode == 1
    assert call(folder, f"stamp_write {ARGUMENTS}").returncode == 0
    assert call(folder, f"stamp_current {ARGUMENTS}").returncode == 0
    lines = (folder / "out/.done").read_text().splitlines()
    assert lines[:2] == ["option nj=4", "option seed=0"]
    digest = subprocess.run(["sha256sum", folder / "in put"], capture_output=True, text=True).stdout.split()[0]
    assert lines[2] == f"{digest} in put"
    assert [path.name for path in (folder / "out").iterdir()] == [".done"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("echo two > 'in put'", "changed: in put"),
        ("echo b > dir/a", "changed: dir"),
        ("mv dir/a dir/b", "changed: dir"),
        ("echo x > dir/new", "changed: dir"),
        ("rm 'in put'", "stamp: missing input in put"),
    ],
)
def test_changed_inputs_are_seen_and_named(folder: Path, change: str, difference: str) -> None:
    assert call(folder, f"stamp_write {ARGUMENTS}; {change}").returncode == 0
    assert call(folder, f"stamp_current {ARGUMENTS}").returncode == 1
    assert call(folder, f"stamp_difference {ARGUMENTS}").stdout == difference + "\n"


def test_hidden_files_and_subfolders_of_an_input_do_not_count(folder: Path) -> None:
    call(folder, f"stamp_write {ARGUMENTS}; touch dir/.hidden; mkdir dir/split4; touch dir/split4/x")
    assert call(folder, f"stamp_current {ARGUMENTS}").returncode == 0


def test_changed_options_are_seen_and_named(folder: Path) -> None:
    call(folder, f"stamp_write {ARGUMENTS}")
    changed = "out/.done $'nj=4\\nseed=1' 'in put' dir"
    assert call(folder, f"stamp_current {changed}").returncode == 1
    assert call(folder, f"stamp_difference {changed}").stdout == "was: seed=0\nnow: seed=1\n"
    assert call(folder, "stamp_current out/.done $'nj=4\\nseed=0' 'in put'").returncode == 1


def test_no_stamp_without_its_inputs(folder: Path) -> None:
    result = call(folder, "stamp_write out/.done opt nowhere")
    assert result.returncode == 1
    assert result.stderr == "stamp: missing input nowhere\n"
    assert not (folder / "out").exists()


def test_a_list_edited_in_place_changes_the_state_of_its_corpus(tmp_path: Path) -> None:
    (tmp_path / "vox1/meta").mkdir(parents=True)
    (tmp_path / "vox1/wav/id1/session").mkdir(parents=True)
    (tmp_path / "vox1/wav/id1/session/1.wav").write_text("speech")
    (tmp_path / "vox1/meta/veri_test2.txt").write_text("1 a b\n")
    (tmp_path / "local").symlink_to(REPOSITORY / "local")

    def state() -> str:
        return call(tmp_path, ". local/lib/prepare.sh; tree_state vox1").stdout

    before = state()
    assert len(before) == 65
    (tmp_path / "vox1/wav/id1/session/1.wav").write_text("other speech")  # a million of these are not looked at
    assert state() == before
    (tmp_path / "vox1/meta/veri_test2.txt").write_text("0 a b\n1 a b\n")
    assert state() != before

"""Archives on a local disc: copied once, complete or absent, refused where there is no room."""

import multiprocessing
import os
import resource
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from etdnn.data import staging
from etdnn.data.staging import stage_arks
from etdnn.errors import UserError


@pytest.fixture
def arks(tmp_path) -> list[str]:
    folder = tmp_path / "network disc"
    paths = [folder / "train" / "fbank.1.ark", folder / "train" / "fbank.2.ark", folder / "noise" / "fbank.1.ark"]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (100_000 + number))
    return [str(path) for path in paths]


@pytest.fixture
def local(tmp_path) -> Path:
    return tmp_path / "local"


def contents(paths: list[str]) -> list[bytes]:
    return [Path(path).read_bytes() for path in paths]


def test_copies_are_used_again_and_changed_archives_copied_anew(arks, local):
    said = []
    first = stage_arks(arks, local, said.append)
    assert contents(first) == contents(arks) and len(set(first)) == 3
    assert said == [f"{local}: 3 archives copied, 0 were there"]
    before = [Path(path).stat().st_ino for path in first]
    assert stage_arks(arks, local, said.append) == first and len(said) == 1
    assert [Path(path).stat().st_ino for path in first] == before
    Path(arks[0]).write_bytes(b"new" * 10)
    Path(arks[1]).write_bytes(b"x" * 100_001)  # the same size, another time
    os.utime(arks[1], (1e9, 1e9))
    assert stage_arks(arks, local, said.append) == first and "2 archives copied, 1 were there" in said[-1]
    assert contents(first) == contents(arks)


def test_a_killed_copy_goes_on_where_it_stopped(arks, local):
    kept = stage_arks(arks[:1], local)[0]
    (local / ".abc.ark.part").write_bytes(b"half")
    inode = Path(kept).stat().st_ino
    assert contents(stage_arks(arks, local)) == contents(arks)
    assert Path(kept).stat().st_ino == inode and not list(local.glob("*.part")) + list(local.glob(".*.part"))


def test_too_little_room_is_said_before_anything_is_copied(arks, local, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, staging.SPARE_BYTES + 200_000))
    with pytest.raises(UserError, match=r"local: 300 KB of features are to be copied, .* are free .*--stage-to"):
        stage_arks(arks, local)
    assert not list(local.glob("*.ark"))
    assert len(stage_arks(arks[:1], local)) == 1


def _stage_on_a_full_disc(arks: list[str], local: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, 100_001))
    try:
        stage_arks(arks, local)
    except UserError as error:
        os._exit(17 if f"copying {arks[2]} failed: File too large" in str(error) else 1)
    os._exit(0)


def test_a_copy_that_fails_leaves_the_complete_ones(arks, local):
    child = multiprocessing.get_context("fork").Process(target=_stage_on_a_full_disc, args=(arks, local))
    child.start()
    child.join()
    assert child.exitcode == 17
    assert sorted(path.stat().st_size for path in local.iterdir()) == [0, 100_000, 100_001], "two copies and the lock"


def _stage_and_count(arks: list[str], local: Path, queue) -> None:
    said = []
    stage_arks(arks, local, said.append)
    queue.put(len(said))


def test_of_several_processes_one_copies(arks, local):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_stage_and_count, args=(arks, local, queue)) for _ in range(4)]
    for child in children:
        child.start()
    assert sorted(queue.get(timeout=60) for _ in children) == [0, 0, 0, 1]
    for child in children:
        child.join()


def test_missing_archives_and_impossible_folders_are_named(arks, local, tmp_path):
    with pytest.raises(UserError, match=r"gone.ark: No such file or directory; run stage 1 again"):
        stage_arks([*arks, str(tmp_path / "gone.ark")], local)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x: cannot be made"):
        stage_arks(arks, tmp_path / "file" / "x")

"""Files are written whole or not at all."""

import pytest

from etdnn.files import atomic_path, hash_file, hash_text, write_json, write_text


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    """Whoever has the file open keeps what it was: the new one takes its name, nothing is written into the old one."""
    path = tmp_path / "below" / "a.txt"
    write_text(path, "old, and longer than the new text")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old, and longer than the new text"
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_hashes_are_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes("für".encode())
    assert hash_file(tmp_path / "a") == hash_text("für") != hash_text("fur")
    assert len(hash_text("")) == 16

"""Tables that are read and merged in blocks: any size of block gives the same, faults keep their line numbers."""

import sys

import pytest
from helpers.data_dirs import REPOSITORY, write_data_dir

sys.path.insert(0, str(REPOSITORY / "utils" / "data_dir"))

import combine_data
import reading
import validate_data_dir


@pytest.fixture(params=[1, 7, 100, 1 << 24])
def block(request, monkeypatch):
    """Bytes that are read at once."""
    monkeypatch.setattr(reading, "BLOCK", request.param)
    return request.param


def test_blocks_are_the_whole_table(tmp_path, block):
    path = tmp_path / "wav.scp"
    rows = [(f"u{number:03d}", "sox é.wav - |" if number % 3 else "a.wav") for number in range(50)]
    path.write_text("".join(f"{key} {value}\n" for key, value in rows), encoding="utf-8")
    blocks = list(reading.table_blocks(path))
    assert [(key, value) for _, ids, values in blocks for key, value in zip(ids, values, strict=True)] == rows
    assert [first for first, _, _ in blocks][0] == 1
    assert all(ids[0] == f"u{first - 1:03d}" for first, ids, _ in blocks)
    assert reading.read_table(path) == tuple(map(list, zip(*rows, strict=True)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"u038 s\n", "40: the id u038 is there twice"),
        (b"u007 s\n", "40: not sorted: u007 comes after u038"),
        (b"u038x s\r\n", "40: a carriage return"),
        (b"u038x s\0\n", "40: a zero byte"),
        (b"u038x \xff\n", "40: not UTF-8 text"),
        (b"u038x\n", "40: expected 2 columns, found: u038x"),
        (b"\n", "40: expected 2 columns, found: an empty line"),
    ],
)
def test_faults_keep_their_line(tmp_path, block, bad, message):
    good = [b"u%03d s\n" % number for number in range(39)]
    path = tmp_path / "utt2spk"
    path.write_bytes(b"".join([*good, bad, b"v s\n"]))
    with pytest.raises(reading.TableError, match=f"utt2spk:{message}"):
        reading.read_table(path)


def test_a_cut_off_file_is_refused(tmp_path, block):
    (tmp_path / "utt2spk").write_text("a s\nb s\nc s")
    with pytest.raises(reading.TableError, match="utt2spk:3: the last line has no end"):
        reading.read_table(tmp_path / "utt2spk")
    (tmp_path / "utt2spk").write_text("")
    assert reading.read_table(tmp_path / "utt2spk") == ([], [])


def test_lines_too_many_are_found_wherever_a_block_ends(tmp_path, block):
    write_data_dir(tmp_path / "a", {"s01": 3})
    with (tmp_path / "a/utt2dur").open("a") as handle:
        handle.write("s02 1.0\n")
    with pytest.raises(reading.TableError, match="utt2dur:4: s02 is not in utt2spk"):
        validate_data_dir.main([str(tmp_path / "a")])


def test_merging_in_blocks(tmp_path, block, capsys):
    write_data_dir(tmp_path / "a", {"s01": 9, "s03": 5})
    write_data_dir(tmp_path / "b", {"s02": 8, "s04": 1})
    sources = [str(tmp_path / "a"), str(tmp_path / "b")]
    combine_data.main([str(tmp_path / "all"), *sources])
    for name in ("utt2spk", "wav.scp", "feats.scp", "utt2dur"):
        lines = sorted(line for source in "ab" for line in (tmp_path / source / name).read_text().splitlines())
        assert (tmp_path / "all" / name).read_text().splitlines() == lines
    assert "23 utterances (14 of " in capsys.readouterr().err
    validate_data_dir.main([str(tmp_path / "all")])
    write_data_dir(tmp_path / "c", {"s03": 1})
    with pytest.raises(reading.TableError, match="the utterance s03-s0-0000 is in .*/a and in .*/c"):
        combine_data.main([str(tmp_path / "other"), str(tmp_path / "a"), str(tmp_path / "c")])
    assert not (tmp_path / "other" / "utt2spk").exists()

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.data.datadir import DataDir, read_table, speaker_to_utterances, write_data_dir, write_table
from etdnn.data.outputs import building
from etdnn.errors import UserError

IDS = st.text(st.characters(blacklist_categories=("Zs", "Zl", "Zp", "Cc", "Cs"), max_codepoint=0xFFFF), min_size=1)
IDS = IDS.filter(lambda text: len(text.split()) == 1 and text.split()[0] == text and text[0] != "\ufeff")
VALUES = st.lists(IDS, min_size=1, max_size=3).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(table=st.dictionaries(IDS, VALUES, max_size=8))
def test_a_table_is_read_as_it_was_written(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table"
    write_table(path, table)
    read = read_table(path)
    assert read == table
    encoded = [key.encode() for key in read]
    assert encoded == sorted(encoded), "not in LC_ALL=C order"


def test_paths_with_spaces_and_undecodable_names_survive(tmp_path):
    table = {"a": "/my recordings/a file.wav", "b": os.fsdecode(b"/old/\xe9.wav")}
    write_table(tmp_path / "wav.scp", table)
    assert read_table(tmp_path / "wav.scp") == table
    assert b"/old/\xe9.wav" in (tmp_path / "wav.scp").read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 1\na 2\n", ":2: id 'a' stands there twice"),
        ("b 1\na 2\n", ":2: 'a' is out of order"),
        ("a 1\nb\n", ":2: expected 'id value'"),
        ("a 1\n\nb 2\n", ":2: expected 'id value'"),
        ("a 1\n b 2\n", ":2: expected 'id value'"),
    ],
)
def test_a_malformed_table_is_named_with_file_and_line(tmp_path, text, said):
    (tmp_path / "utt2spk").write_text(text)
    with pytest.raises(UserError, match=f"utt2spk{said}"):
        read_table(tmp_path / "utt2spk")


def test_missing_tables_say_which_stage_makes_them(tmp_path):
    with pytest.raises(UserError, match="stage 0 makes it"):
        DataDir(tmp_path / "none")
    data = DataDir(tmp_path)
    with pytest.raises(UserError, match="feats.scp: no such file .stage 1 makes it"):
        _ = data.feats_scp
    with pytest.raises(UserError, match="there are: none"):
        data.trials("clean")
    assert data.utt2session == {} and data.utt2aug == {} and data.utt2dur == {}


def make(path, **extra):
    tables = {
        "wav.scp": {"a-s-1": "1.wav", "a-s-2": "2.wav", "b-s-1": "3.wav"},
        "utt2spk": {"a-s-1": "a", "a-s-2": "a", "b-s-1": "b"},
        "utt2dur": {"a-s-1": 1.25, "a-s-2": 2.0, "b-s-1": 0.5},
    }
    write_data_dir(path, tables | extra)
    return DataDir(path)


def test_a_written_directory_is_valid_and_reads_back(tmp_path):
    data = make(tmp_path / "train", utt2session={"a-s-1": "s", "a-s-2": "s", "b-s-1": "s"})
    data.validate()
    assert data.spk2utt == {"a": ["a-s-1", "a-s-2"], "b": ["b-s-1"]} == speaker_to_utterances(data.utt2spk)
    assert data.utt2dur["a-s-1"] == 1.25
    with pytest.raises(UserError, match="not in feats.scp|feats.scp"):
        data.validate(feats=True)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("wav.scp", "a-s-1 1.wav\na-s-2 2.wav\n", "1 ids of utt2spk are not in wav.scp, e.g. 'b-s-1'"),
        ("spk2utt", "a a-s-1\nb a-s-2 b-s-1\n", "spk2utt: does not agree with utt2spk"),
        ("utt2dur", "a-s-1 1\na-s-2 0\nb-s-1 1\n", "utt2dur: 'a-s-2' has 0.0"),
        ("utt2dur", "a-s-1 1\na-s-2 long\nb-s-1 1\n", "utt2dur:2: 'a-s-2' has 'long'"),
    ],
)
def test_contradictions_are_named(tmp_path, name, text, said):
    path = make(tmp_path / "d").path
    (path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        DataDir(path).validate()


def test_utterances_must_sort_by_speaker(tmp_path):
    write_data_dir(tmp_path, {"wav.scp": {"1": "x", "2": "y"}, "utt2spk": {"1": "b", "2": "a"}})
    with pytest.raises(UserError, match="prefix of the utterance id"):
        DataDir(tmp_path).validate()


def test_building_replaces_all_or_nothing(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old").write_text("old")
    with pytest.raises(RuntimeError), building(tmp_path) as work:
        (work / "train").mkdir()
        raise RuntimeError
    assert (tmp_path / "train" / "old").read_text() == "old"
    with building(tmp_path) as work:
        (work / "train").mkdir()
        (work / "list").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list", "train"]
    assert not list((tmp_path / "train").iterdir())

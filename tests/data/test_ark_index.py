"""Tables of a million lines in arrays: words by number, marks, and where ids of one list stand in another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etdnn.data.ark_index import Keys, read_marks, read_word_table
from etdnn.errors import UserError

IDS = st.lists(st.text("ab-09é", min_size=1, max_size=6), min_size=1, max_size=40, unique=True)


def keys_of(names):
    blob = "".join(f"{name}\n" for name in names).encode()
    return Keys(blob, np.cumsum([len(name.encode()) + 1 for name in names]).astype(np.int64))


@given(IDS, IDS, st.booleans(), st.booleans())
def test_positions_are_those_of_a_search(names, wanted, sort_names, sort_wanted):
    names = sorted(names) if sort_names else names
    wanted = sorted(wanted) if sort_wanted else wanted
    expected = [names.index(name) if name in names else -1 for name in wanted]
    assert keys_of(names).positions_of(keys_of(wanted)).tolist() == expected


@given(IDS)
def test_ranks_and_lengths(names):
    keys = keys_of(names)
    assert keys.lengths().tolist() == [len(name.encode()) for name in names]
    assert keys.ranks().tolist() == [sorted(names).index(name) for name in names]


@pytest.mark.parametrize("block", [1 << 24, 16])
def test_words_and_marks(tmp_path, monkeypatch, block):
    monkeypatch.setattr("etdnn.data.ark_index._BLOCK", block)
    (tmp_path / "utt2spk").write_bytes(b"a-1 zoe\r\na-2 ann\nb-1\tann\nb-2 zoe \n")
    keys, codes, words = read_word_table(tmp_path / "utt2spk")
    assert list(keys) == ["a-1", "a-2", "b-1", "b-2"]
    assert [words[code] for code in codes] == ["zoe", "ann", "ann", "zoe"]
    (tmp_path / "utt2aug").write_text("a-1 speed=0.9\na-2 noise=n1@5\nb-1 speed=1.1 reverb=r\n")
    keys, marks = read_marks(tmp_path / "utt2aug", "speed=")
    assert list(keys) == ["a-1", "a-2", "b-1"] and marks.tolist() == [True, False, True]


@pytest.mark.parametrize("text", ["", "a-1\n", "a-1 x\nb", "a-1 x\n\n"])
def test_malformed_tables_are_refused(tmp_path, text):
    (tmp_path / "utt2spk").write_text(text)
    for read in (read_word_table, lambda path: read_marks(path, "x")):
        with pytest.raises(UserError, match="utt2spk"):
            read(tmp_path / "utt2spk")

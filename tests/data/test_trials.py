import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.data.trials import Trials, make_trials, read_trials, write_trials
from etdnn.errors import UserError

ID = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_./", min_size=1, max_size=20)
ROWS = st.lists(st.tuples(ID, ID, st.booleans()), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, ends=st.sampled_from(["\n", "\r\n"]), voxceleb=st.booleans())
def test_reading_is_the_inverse_of_writing_in_both_forms(rows, ends, voxceleb, tmp_path_factory):
    path = tmp_path_factory.mktemp("trials") / "trials"
    enrol, test, target = (list(column) for column in zip(*rows, strict=True))
    if voxceleb:
        path.write_bytes("".join(f"{int(t)} {a} {b}{ends}" for a, b, t in rows).encode())
    else:
        write_trials(path, Trials(enrol, test, np.array(target)))
        path.write_bytes(path.read_bytes().replace(b"\n", ends.encode()))
    read = read_trials(path)
    assert (read.enrol, read.test, read.target.tolist()) == (enrol, test, target)


def test_names_with_spaces_are_read_from_columns_by_tabs(tmp_path):
    (tmp_path / "t").write_text("1\tmy voice/s/a.wav\tmy voice/s/b.wav\n")
    read = read_trials(tmp_path / "t")
    assert (read.enrol, read.test, read.target.tolist()) == (["my voice/s/a.wav"], ["my voice/s/b.wav"], [True])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no trials in it"),
        ("1 a b\n2 a b\n", ":2: expected '1|0 enrol test'"),
        ("1 a b\n0 a\n", ":2: "),
        ("a b target\na b 1\n", ":2: expected 'enrol test target|nontarget', found 'a b 1'"),
        ("a b\n", ":1: expected"),
        ("a b target\n\n", ":2: "),
    ],
)
def test_malformed_lists_are_named_with_file_and_line(tmp_path, text, said):
    (tmp_path / "trials").write_text(text)
    with pytest.raises(UserError) as caught:
        read_trials(tmp_path / "trials")
    assert said in str(caught.value) and str(tmp_path / "trials") in str(caught.value)


def corpus(speakers=6, sessions=2, utterances=3):
    rows = [(s, e, u) for s in range(speakers) for e in range(sessions) for u in range(utterances)]
    utt2spk = {f"s{s}-{e}-{u}": f"s{s}" for s, e, u in rows}
    return utt2spk, {f"s{s}-{e}-{u}": f"s{s}/{e}" for s, e, u in rows}


def draw(utt2spk, **options):
    options = {"enrol": list(utt2spk), "test": list(utt2spk), "seed": 1, "purpose": "here"} | options
    return make_trials(utt2spk, **options)


def pairs(trials):
    return list(zip(trials.enrol, trials.test, trials.target.tolist(), strict=True))


def test_drawn_trials_keep_the_rules():
    utt2spk, utt2session = corpus()
    group = {f"s{number}": "mf"[number % 2] for number in range(6)}
    trials = draw(utt2spk, utt2session=utt2session, group=group, targets=40, nontargets=100)
    assert trials.target.sum() == 40 and len(trials) == 140
    assert len({frozenset(pair[:2]) for pair in pairs(trials)}) == 140, "a pair twice, or an utterance with itself"
    for enrol, test, target in pairs(trials):
        assert (utt2spk[enrol] == utt2spk[test]) == target
        assert not target or utt2session[enrol] != utt2session[test]
        assert group[utt2spk[enrol]] == group[utt2spk[test]]
    targets = [utt2spk[enrol] for enrol, _, target in pairs(trials) if target]
    counts = [targets.count(f"s{number}") for number in range(6)]
    assert max(counts) - min(counts) <= 1, "speakers do not share the targets evenly"


def test_the_same_seed_gives_the_same_trials():
    utt2spk, _ = corpus()
    assert pairs(draw(utt2spk)) == pairs(draw(dict(reversed(utt2spk.items()))))
    assert pairs(draw(utt2spk)) != pairs(draw(utt2spk, seed=2))


def test_no_more_than_there_are():
    utt2spk, _ = corpus(speakers=2, sessions=1)
    trials = draw(utt2spk, targets=1000, nontargets=1000)
    assert trials.target.sum() == 2 * 3 and (~trials.target).sum() == 9


def test_copies_never_meet_their_original():
    utt2spk, _ = corpus(speakers=3, sessions=1)
    original = {f"{key}-cross": key for key in utt2spk}
    both = utt2spk | {copy: utt2spk[key] for copy, key in original.items()}
    trials = draw(both, enrol=list(utt2spk), test=list(original), original=original)
    assert trials.target.sum() == 3 * 3 * 2
    assert all(original[test] != enrol for enrol, test, _ in pairs(trials))


def test_a_class_without_trials_is_refused():
    with pytest.raises(UserError, match="no speaker has two utterances"):
        draw({"a-1": "a", "b-1": "b"})
    with pytest.raises(UserError, match="no two speakers"):
        draw({"a-1": "a", "a-2": "a", "b-1": "b"}, group={"a": "f", "b": "m"})


def test_large_sets_are_drawn_from_by_speaker():
    utt2spk, _ = corpus(speakers=60, sessions=4, utterances=5)
    group = {f"s{number}": "mf"[number % 2] for number in range(60)}
    trials = draw(utt2spk, group=group, targets=500, nontargets=2000)
    assert trials.target.sum() == 500 and len({frozenset(pair[:2]) for pair in pairs(trials)}) == 2500
    for enrol, test, target in pairs(trials):
        assert (utt2spk[enrol] == utt2spk[test]) == target and group[utt2spk[enrol]] == group[utt2spk[test]]
    lonely = {f"s{number}": "f" if number == 7 else "m" for number in range(60)}
    rest = draw(utt2spk, group=lonely, targets=500, nontargets=2000)
    assert all(target or "s7" not in (utt2spk[e], utt2spk[t]) for e, t, target in pairs(rest))

from pathlib import Path

import pytest
from helpers.recordings import write_noises, write_recordings

from etdnn.data.corpus import id_of_path, safe_speaker, utterance_id
from etdnn.data.noises import prepare_noises, read_noises
from etdnn.data.own import prepare_own, trials_name
from etdnn.data.split import cut_speakers, default_count
from etdnn.errors import UserError


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    musan, rirs = write_noises(tmp_path_factory.mktemp("noises"))
    return {"musan": musan, "rirs": rirs}


def test_ids_are_safe_and_sort_by_speaker():
    assert utterance_id("Anna Müller", "2024-01-02 b", "a b~1") == "Anna_Mu00fcller-2024-01-02_b-a_b_1"
    assert id_of_path("wav/id1/v-x/00001.wav") == "id1-v-x-00001" and id_of_path("id1-v-x-00001") == "id1-v-x-00001"
    names = ["a", "a-b", "a b", "a.b", "a0", "A", "ab", "ü"]
    speakers = sorted(safe_speaker(name) for name in names)
    assert sorted(f"{speaker}-s-u" for speaker in speakers) == [f"{speaker}-s-u" for speaker in speakers]
    assert [trials_name(f"x/{n}.txt") for n in ("trials", "trials_cross", "veri 2")] == ["main", "cross", "veri_2"]


def test_default_counts():
    assert [default_count(number) for number in (8, 12, 40, 180, 1000, 6000)] == [2, 3, 10, 20, 100, 120]
    with pytest.raises(UserError, match="too few to cut 11"):
        cut_speakers([f"s{n}" for n in range(12)], 11, seed=0, purpose="dev")


def test_whole_rooms_are_kept_for_dev(noises, tmp_path):
    prepare_noises(tmp_path / "n", final=tmp_path / "n", seed=0, say=lambda _: None, **noises)
    rooms = [
        {Path(path).parent for path in read_noises(tmp_path / "n" / part)["rir"].values()} for part in ("train", "dev")
    ]
    assert len(rooms[0]) == 10 and len(rooms[1]) == 2 and not rooms[0] & rooms[1]
    (tmp_path / "other").mkdir()
    for option, said in (("musan", "expected MUSAN's folder form"), ("rirs", "no impulse responses")):
        with pytest.raises(UserError, match=said):
            prepare_noises(
                tmp_path / "n",
                final=tmp_path / "n",
                seed=0,
                say=lambda _: None,
                **(noises | {option: tmp_path / "other"}),
            )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name\tset\nspk00\ttrain\n", ":1: no column 'id'"),
        ("id\tset\nspk00\tlearn\n", ":2: set 'learn' of 'spk00' is none of train, dev, test"),
        ("id\tset\nspk00\ttrain\nspk00\ttest\n", ":3: speaker 'spk00' is in train and in test"),
        ("id\tset\nspk00\n", ":2: 1 columns, the header has 2"),
        ("id\tset\nspk00\ttrain\nspk01\ttrain\n", "speakers are too few"),
        ("id\tset\n" + "".join(f"spk{n:02d}\ttrain\n" for n in range(12)), "set test has 0 speakers"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_by_name(noises, tmp_path, table, said):
    write_recordings(tmp_path / "corpus", speakers=12)
    (tmp_path / "s.tsv").write_text(table)
    with pytest.raises(UserError, match=said):
        prepare_own(tmp_path / "corpus", tmp_path / "d", split=tmp_path / "s.tsv", say=lambda _: None, **noises)

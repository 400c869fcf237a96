import hashlib
import json
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import soundfile

from etdnn.cli import main, synthesise_corpus
from etdnn.data import synthetic
from etdnn.data.espeak import draw_voice, write_engine_data
from etdnn.data.sentences import draw_sentence
from etdnn.data.synthetic import CorpusOptions, draw_session, make_trials, speakers_of
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.seeding import numpy_generator

SMALL = CorpusOptions(8, 4, 4, sessions=2, utterances=2, noises=4, rooms=4, babble_speakers=2, seed=1)


def tree_hashes(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthetic.synthesise_corpus(out, SMALL, jobs=2)
    return out


def test_the_bytes_do_not_depend_on_the_run_or_the_jobs(corpus, tmp_path):
    assert synthetic.synthesise_corpus(tmp_path / "again", SMALL, jobs=1)["made"]
    assert tree_hashes(tmp_path / "again") == tree_hashes(corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["again"], "a temporary folder was left behind"


def test_a_speaker_sounds_the_same_in_a_larger_corpus(corpus, tmp_path):
    larger = replace(SMALL, train_speakers=2, test_speakers=5, babble_speakers=0)
    synthetic.synthesise_corpus(tmp_path / "other", larger, jobs=2)
    name = "wav/id30004/session-2/00002.flac"
    assert (tmp_path / "other" / name).read_bytes() == (corpus / name).read_bytes()


def test_layout(corpus):
    rows = [line.split("\t") for line in (corpus / "speakers.tsv").read_text().splitlines()]
    assert rows[0] == ["id", "gender", "set"]
    for name, count in (("train", 8), ("dev", 4), ("test", 4)):
        genders = [gender for _, gender, group in rows[1:] if group == name]
        assert len(genders) == count
        assert genders.count("m") == genders.count("f")
    assert sorted(path.name for path in (corpus / "wav").iterdir()) == [row[0] for row in rows[1:]]
    assert len(list(corpus.glob("wav/id?????/session-?/?????.flac"))) == 16 * 2 * 2
    assert len(list(corpus.glob("noise/noise/synthetic/*.flac"))) == 4
    assert len(list(corpus.glob("noise/speech/synthetic/*.flac"))) == 2
    assert len(list(corpus.glob("rirs/simulated/shoebox/*.flac"))) == 4
    assert len((corpus / "sessions.tsv").read_text().splitlines()) == 1 + 16 * 2
    description = json.loads((corpus / "corpus.json").read_text())
    assert "SYNTHETIC" in description["description"]
    assert description["options"] == asdict(SMALL)


def test_audio_is_16_khz_of_some_seconds_and_not_clipped(corpus):
    levels = {}
    for path in corpus.glob("wav/*/*/*.flac"):
        audio, rate = soundfile.read(path)
        assert rate == 16000
        assert audio.ndim == 1
        assert 1.0 < len(audio) / rate < 9.0
        assert np.abs(audio).max() < 0.91
        levels.setdefault(path.parent, []).append(10 * np.log10(np.mean(audio**2)))
    assert all(-45 < level < -15 for session in levels.values() for level in session)


def test_trials_are_across_sessions_with_nontargets_of_the_same_gender(corpus):
    gender = {speaker.id: speaker.gender for speaker in speakers_of(SMALL) if speaker.set == "test"}
    trials = [line.split() for line in (corpus / "trials.txt").read_text().splitlines()]
    assert len({(enrol, test) for _, enrol, test in trials}) == len(trials)
    for label, *paths in trials:
        assert all((corpus / "wav" / path).is_file() for path in paths)
        (enrol, enrol_session, _), (test, test_session, _) = (path.split("/") for path in paths)
        assert enrol_session != test_session
        assert gender[enrol] == gender[test]
        assert (label == "1") == (enrol == test)
    counts = json.loads((corpus / "corpus.json").read_text())["counts"]
    assert counts["targets"] == sum(label == "1" for label, _, _ in trials) == 4 * 4
    assert counts["nontargets"] == sum(label == "0" for label, _, _ in trials) == 2 * 8


def test_the_default_corpus_has_thousands_of_trials():
    options = CorpusOptions()
    speakers = speakers_of(options)
    assert [sum(s.set == name for s in speakers) for name in ("train", "dev", "test")] >= [80, 20, 20]
    trials = make_trials([s for s in speakers if s.set == "test"], options)
    assert sum(label for label, _, _ in trials) > 900
    assert sum(1 - label for label, _, _ in trials) > 2500


def test_voices_differ_more_than_utterances_of_one_voice(corpus):
    def statistics(path):
        audio, _ = soundfile.read(path, dtype="float32")
        features = compute_fbank(audio * 32768, FbankOptions())
        return np.concatenate([features.mean(0) - features.mean(), features.std(0)])

    means = {path: statistics(path) for path in sorted(corpus.glob("wav/id1*/*/*.flac"))}
    session, speaker, others = [], [], []
    for a in means:
        for b in means:
            if a < b:
                distance = float(np.linalg.norm(means[a] - means[b]))
                kind = session if a.parent == b.parent else speaker if a.parent.parent == b.parent.parent else others
                kind.append(distance)
    assert np.mean(session) < 0.85 * np.mean(speaker), "sessions of a speaker sound alike"
    assert np.mean(speaker) < 0.95 * np.mean(others), "speakers sound alike"


def test_sessions_differ_in_what_is_drawn():
    sessions = [draw_session(0, f"id1{n:04d}", number) for n in range(10) for number in (1, 2, 3)]
    for name in ("rate", "snr", "level", "reverberation_time", "microphone"):
        assert len({getattr(session, name) for session in sessions}) > 15


def test_voices_and_sentences_are_varied():
    voices = {draw_voice(numpy_generator(0, n), "m") for n in range(50)}
    assert len(voices) == 50
    assert all(
        len(line.split()) == 9 for voice in voices for line in voice.splitlines() if line.startswith("stressAdd")
    )
    sentences = [draw_sentence(numpy_generator(1, n), 6) for n in range(300)]
    assert len(set(sentences)) > 280
    assert not any("{" in sentence for sentence in sentences)
    assert all(6 <= len(sentence.split()) < 25 for sentence in sentences)


def test_a_current_corpus_is_left_alone_and_a_damaged_one_made_again(corpus, tmp_path):
    options = replace(SMALL, train_speakers=2, utterances=1, noises=2, rooms=2, babble_speakers=0)
    out = tmp_path / "corpus"
    assert synthetic.synthesise_corpus(out, options, jobs=2)["made"]
    before = tree_hashes(out)
    assert not synthetic.synthesise_corpus(out, options)["made"]
    (out / "wav/id30001/session-1/00001.flac").unlink()
    assert synthetic.synthesise_corpus(out, options, jobs=2)["made"]
    assert tree_hashes(out) == before
    assert synthetic.synthesise_corpus(out, replace(options, seed=9), jobs=2)["made"]
    assert tree_hashes(out) != before


def test_another_folder_is_never_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not a synthetic corpus"):
        synthetic.synthesise_corpus(tmp_path, SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failure_is_one_line_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["synthesise-corpus", str(tmp_path / "file" / "corpus"), "--test-speakers", "4"]) == 1
    assert main(["synthesise-corpus", str(tmp_path / "corpus"), "--sessions", "1"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2
    assert "--sessions is 1, must be at least 2" in error[1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failing_process_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic.espeak, "draw_voice", lambda generator, gender: "pitch 100 120\n")
    monkeypatch.setattr(synthetic.espeak, "write_engine_data", lambda directory, voices: None)
    with pytest.raises(UserError, match=r"^\w+: .*espeak-ng cannot read its data"):
        synthetic.synthesise_corpus(tmp_path / "corpus", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_missing_engine_names_the_extra(tmp_path, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(synthetic, "version", absent)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"tools/install.sh, or pip install 'etdnn\[mini\]'"):
        synthetic.synthesise_corpus(tmp_path / "corpus", SMALL)


def test_a_long_scratch_path_is_refused(tmp_path):
    long = tmp_path / ("x" * 140)
    long.mkdir()
    with pytest.raises(UserError, match="set TMPDIR to a shorter folder"):
        write_engine_data(long, {})


def test_the_command_has_the_defaults_of_the_options():
    parser = ArgumentParser()
    synthesise_corpus.add_arguments(parser)
    args = vars(parser.parse_args(["corpus"]))
    assert {name: args[name] for name in asdict(CorpusOptions())} == asdict(CorpusOptions())


def test_prepare_mini_has_the_defaults_of_the_options(repository):
    script = repository / "local" / "prepare_mini.sh"
    text = script.read_text()
    for name in ("train_speakers", "dev_speakers", "test_speakers", "sessions", "utterances"):
        assert f"\n{name}={getattr(CorpusOptions(), name)}\n" in text
    shown = subprocess.run(
        ["bash", str(script), "--help"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    assert "SYNTHETIC" in shown.upper()

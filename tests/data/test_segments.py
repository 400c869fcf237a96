"""Parts of recordings of real speech: the same samples as files cut by hand, in every form that audio comes in."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.m4a import install_ffmpeg, m4a_bytes

from etdnn.data.audio import BadAudio, read_audio
from etdnn.data.audio_state import audio_state
from etdnn.data.datadir import DataDir, write_data_dir
from etdnn.data.segments import TO_END, Recording, Segment, SegmentReader, reads_parts
from etdnn.errors import UserError

TIMES = [(0.0, 0.9), (0.25, 1.3333), (1.1, TO_END), (0.29, 0.57)]


@pytest.fixture(scope="module")
def speech(data_root) -> np.ndarray:
    """Two seconds of a real utterance at 16 kHz."""
    samples, rate = soundfile.read(sorted((data_root / "realspeech/wav").glob("*/so762/*.ogg"))[0], dtype="float32")
    assert rate == 16000 and len(samples) >= 32000
    return samples[:32000]


def written(path: Path, samples: np.ndarray, rate: int = 16000, **form) -> str:
    soundfile.write(path, samples, rate, **form)
    return str(path)


def cut_by_hand(entry: str, path: Path, start: float, end: float) -> np.ndarray:
    """Cut a file as one would: decode it, take the samples, write them without loss, read that."""
    samples, rate = soundfile.read(entry, dtype="float32", always_2d=True)
    stop = len(samples) if end == TO_END else round(end * rate)
    return read_audio(written(path, samples[round(start * rate) : stop], rate, subtype="FLOAT"))


@pytest.mark.parametrize(
    ("name", "rate", "channels", "form"),
    [
        ("a.wav", 16000, 1, {}),
        ("a.wav", 8000, 1, {}),
        ("a.wav", 44100, 2, {"subtype": "PCM_24"}),
        ("a.wav", 8000, 1, {"subtype": "ULAW"}),
        ("a.flac", 16000, 2, {}),
        ("a.ogg", 16000, 1, {}),
        ("a.mp3", 16000, 1, {}),
    ],
)
def test_like_a_file_that_was_cut_by_hand(speech, tmp_path, name, rate, channels, form):
    samples = np.tile(np.stack([speech, speech[::-1]][:channels], 1), (2, 1))
    tolerance = 0.01 if name.endswith("mp3") else 0  # libsndfile's MP3 decoder is not the same to the last bit twice
    entry = written(tmp_path / name, samples, rate, **form)
    reader = SegmentReader()
    for start, end in TIMES:
        wave = reader.read(entry, Segment("r", start, end))
        by_hand = cut_by_hand(entry, tmp_path / "cut.wav", start, end)
        assert wave.shape == by_hand.shape and np.abs(wave - by_hand).max() <= tolerance
        assert np.abs(wave).max() > 50
        recording = Recording(entry, 16000, Segment("r", start, end))
        assert recording.rate == rate and reads_parts(entry, rate) == (name.endswith(("wav", "flac")))
        if rate == 16000:  # it is not resampled
            assert len(recording) == len(wave) and np.abs(np.asarray(recording) - wave).max() <= tolerance
            assert np.abs(recording[700:2000] - wave[700:2000]).max() <= tolerance


def test_a_pipe_is_run_once_for_the_parts_that_follow_each_other(speech, tmp_path):
    path = written(tmp_path / "a b.wav", speech)
    entry = f"echo run >>'{tmp_path}/runs'; cat '{path}' |"
    reader = SegmentReader()
    for start, end in TIMES:
        wave = reader.read(entry, Segment("r", start, end))
        assert np.array_equal(wave, SegmentReader().read(path, Segment("r", start, end)))
    assert (tmp_path / "runs").read_text() == "run\n"
    reader.read(f"cat '{path}' |", Segment("other", 0, 1))
    reader.read(entry, Segment("r", 0, 1))
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_m4a(speech, tmp_path, monkeypatch):
    install_ffmpeg(tmp_path / "bin", monkeypatch)
    entry = tmp_path / "a.m4a"
    entry.write_bytes(m4a_bytes(speech))
    assert np.array_equal(SegmentReader().read(str(entry), Segment("r", 0.5, 1.25)), read_audio(str(entry))[8000:20000])


@pytest.mark.parametrize("piped", [False, True])
def test_ends_are_clipped_within_half_a_second(speech, tmp_path, piped):
    path = written(tmp_path / "a.wav", speech)
    entry = f"cat {path} |" if piped else path
    reader = SegmentReader()
    assert len(reader.read(entry, Segment("r", 1, 2.49))) == 16000
    for start, end in ((1, 2.51), (2, 2.4), (7, TO_END)):
        with pytest.raises(BadAudio, match=r"the part from . s to .* is not in it, it has 2.00 s"):
            reader.read(entry, Segment("r", start, end))


def test_a_file_that_ends_early_is_named_and_its_first_part_is_read(speech, tmp_path):
    path = Path(written(tmp_path / "a.flac", speech))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(SegmentReader().read(str(path), Segment("r", 0, 0.3))) == 4800
    with pytest.raises(BadAudio, match=r"a\.flac: "):
        SegmentReader().read(str(path), Segment("r", 0.2, 1.9))
    with pytest.raises(BadAudio, match=r"b\.wav: no such file"):
        SegmentReader().read(str(tmp_path / "b.wav"), Segment("r", 0, 1))


def segmented(path: Path, lines: str, **tables) -> DataDir:
    keys = [line.split()[0] for line in lines.splitlines()]
    write_data_dir(path, {"utt2spk": dict.fromkeys(keys, "s"), "wav.scp": {"r1": "/a.wav", "r2": "b |"}} | tables)
    (path / "segments").write_text(lines)
    return DataDir(path)


def test_durations_come_from_the_times(tmp_path):
    data = segmented(tmp_path / "d", "s-1 r1 0.5 2.25\ns-2 r2 0 1.1\n")
    data.validate()
    assert data.utt2dur == {"s-1": 1.75, "s-2": 1.1}
    assert data.segments["s-2"] == ("r2", 0.0, 1.1)
    assert segmented(tmp_path / "e", "s-1 r1 0 1\n", utt2dur={"s-1": 0.9}).utt2dur == {"s-1": 0.9}
    with pytest.raises(UserError, match=r"segments:2: end -1 says no duration"):
        _ = segmented(tmp_path / "f", "s-1 r1 0 1\ns-2 r1 0 -1\n").utt2dur


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("s-1 r1 0 1\ns-2 r1 3 2\n", r"segments:2: expected 0 <= start < end .*found '3 2'"),
        ("s-1 r1 2 2\n", r"segments:1: expected 0 <= start < end"),
        ("s-1 r1 -1 2\n", r"segments:1: expected 0 <= start < end"),
        ("s-1 r1 nan 2\n", r"segments:1: expected 0 <= start < end"),
        ("s-1 r1 0 inf\n", r"segments:1: expected 0 <= start < end"),
        ("s-1 r1 zero 2\n", r"segments:1: expected 0 <= start < end"),
        ("s-1 r1 1\n", r"segments:1: expected 'recording start end' after the utterance, found 'r1 1'"),
        ("s-1 r1 0 1\ns-2 r3 0 1\n", r"segments:2: recording 'r3' is not in .*wav.scp"),
        ("s-1 r1 0 1\ns-1 r1 1 2\n", r"segments:2: id 's-1' stands there twice"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        _ = segmented(tmp_path / "d", lines).segments


def test_the_state_of_the_audio_is_that_of_the_recordings(speech, tmp_path):
    path = written(tmp_path / "a.wav", speech)
    segmented(tmp_path / "d", "s-1 r1 0 1\n", **{"wav.scp": {"r1": path}})
    before = audio_state(tmp_path / "d")
    written(tmp_path / "a.wav", speech[:-5])
    assert audio_state(tmp_path / "d") != before

import io

import numpy as np
import pytest
import soundfile
from helpers.recordings import tone

from etdnn.data import audio
from etdnn.data.audio import BadAudio, audio_info, audio_seconds, probe, read_audio
from etdnn.errors import UserError

FORMATS = {".wav": {}, ".flac": {}, ".ogg": {}, ".opus": {"format": "OGG", "subtype": "OPUS"}, ".mp3": {}}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read_at_int16_scale(tmp_path, suffix):
    wave, path = tone(1, 1, 1.0), tmp_path / f"a b{suffix}"
    soundfile.write(path, wave, 16000, **FORMATS[suffix])
    read = read_audio(str(path))
    assert read.dtype == np.float32 and read.shape == (16000,)
    assert np.corrcoef(read, wave)[0, 1] > 0.99
    assert 0.9 < np.abs(read).max() / np.abs(wave).max() / 32768 < 1.1
    assert audio_seconds(path) == pytest.approx(1.0, abs=0.01)


def test_16_bit_samples_come_back_exactly(tmp_path):
    samples = np.arange(-32768, 32768, 7, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert np.array_equal(read_audio(str(tmp_path / "a.wav")), samples.astype(np.float32))


def test_other_rates_and_channels_are_converted_and_said_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(audio, "_said", set())
    left, right = tone(1, 1, 1.0, 8000), tone(2, 1, 1.0, 8000)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.stack([left, right], 1), 8000, subtype="FLOAT")
    read = read_audio(path)
    read_audio(path)
    assert read.shape == (16000,)
    assert np.corrcoef(read[::2], (left + right) / 2)[0, 1] > 0.99
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "channels are averaged" in said[0] and "8000 Hz is resampled to 16000" in said[1]
    assert audio_info(path) == audio.AudioInfo(1.0, 8000, 2)


def broken_files(folder):
    """Make one file of each kind of broken input; return name -> what must be said."""
    soundfile.write(folder / "whole.flac", tone(1, 1, 2.0), 16000)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "text.wav").write_text("not audio\n" * 50)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.m4a").write_text("not audio\n" * 50)
    soundfile.write(folder / "header_only.wav", np.zeros(0), 16000)
    (folder / "folder.wav").mkdir()
    return {
        "truncated.flac": "truncated .its header promises|decoder lost sync",
        "text.wav": "not audio that can be read",
        "empty.wav": "empty file",
        "header_only.wav": "no samples in it",
        "missing.wav": "no such file",
        "folder.wav": "folder.wav: ",
        "text.m4a": "not a complete MP4|no audio track",
    }


def test_broken_files_give_one_clear_line_each(tmp_path):
    expected = broken_files(tmp_path)
    for name, said in expected.items():
        readers = (audio_info,) if name.endswith(".m4a") else (audio_info, read_audio)
        for reader in readers:
            with pytest.raises(BadAudio, match=said) as caught:
                reader(str(tmp_path / name))
            assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)
    reasons = probe([str(tmp_path / name) for name in [*expected, "whole.flac"]])
    assert [isinstance(reason, str) for reason in reasons] == [True] * len(expected) + [False]


def test_samples_that_are_no_numbers_are_refused(tmp_path):
    wave = tone(1, 1)
    wave[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, 16000, subtype="FLOAT")
    with pytest.raises(BadAudio, match="not finite"):
        read_audio(str(tmp_path / "nan.wav"))


def test_a_file_of_10_ms_is_read(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(1, 1)[:160], 16000)
    assert read_audio(str(tmp_path / "short.wav")).shape == (160,)


def test_pipes_run_only_where_they_are_allowed(tmp_path):
    soundfile.write(tmp_path / "a b.wav", tone(1, 1), 16000)
    entry = f"cat '{tmp_path}/a b.wav' |"
    with pytest.raises(UserError, match="stages 0 and 1 only"):
        read_audio(entry)
    assert np.array_equal(read_audio(entry, allow_pipes=True), read_audio(str(tmp_path / "a b.wav")))
    with pytest.raises(BadAudio, match="exit status 3: no luck"):
        read_audio("echo no luck >&2; exit 3 |", allow_pipes=True)
    with pytest.raises(BadAudio, match="5 bytes came that are no audio"):
        read_audio("echo text |", allow_pipes=True)


def test_a_streamed_wav_with_open_length_is_read():
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(1, 1), 16000, format="WAV")
    data = bytearray(buffer.getvalue())
    data[4:8] = data[40:44] = b"\xff" * 4
    script = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
    assert read_audio(f"python3 -c '{script}' {data.hex()} |", allow_pipes=True).shape == (8000,)


def test_m4a_without_ffmpeg_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(b"x" * 100)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install package 'ffmpeg'"):
        read_audio(str(tmp_path / "a.m4a"))


def test_an_interrupted_probe_goes_on_where_it_stopped(tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{number}.wav") for number in range(4)]
    for path in paths[:3]:
        soundfile.write(path, tone(1, 1), 16000)
    first = probe(paths, cache=tmp_path / "cache")
    assert "no such file" in first[3]
    with (tmp_path / "cache").open("a") as cache:
        cache.write(f"{paths[3]}\t1.0")  # the line that was being written when the power went
    looked_at = []
    monkeypatch.setattr(audio, "audio_info", lambda path: looked_at.append(path) or first[0])
    assert probe(paths, cache=tmp_path / "cache") == [*first[:3], first[0]]
    assert looked_at == [paths[3]]


def test_parallel_probing_keeps_the_order(tmp_path):
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", tone(1, 1, 0.1 * (number + 1)), 16000)
    paths = [str(tmp_path / f"{number % 3}.wav") for number in range(2100)]
    seconds = [info.seconds for info in probe(paths, jobs=2)]
    assert seconds == pytest.approx([0.1 * (number % 3 + 1) for number in range(2100)])


def test_real_recordings(data_root):
    for path in ("realspeech/wav/id30001/so762/00001.ogg", "musan_like/noise/esc10/noise-esc10-0000.flac"):
        wave, info = read_audio(str(data_root / path)), audio_info(data_root / path)
        assert len(wave) == round(info.seconds * info.rate) and 100 < np.abs(wave).max() <= 40000

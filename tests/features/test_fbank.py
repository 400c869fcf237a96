"""Front ends against kaldi-native-fbank and the authors' features; configuration files."""

import subprocess
import sys
from pathlib import Path

import kaldi_native_fbank
import numpy as np
import pytest

from etdnn.data.audio import BadAudio, read_audio
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank, read_fbank_conf
from etdnn.features.normalise import normalise

CONFS = ("egs/mini", "egs/own", "egs/voxceleb")


def native_fbank(wave: np.ndarray) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.samp_freq = 16000
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(16000, wave.tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def test_kaldi_front_end_on_real_speech(data_root):
    difference = []
    for path in sorted((data_root / "realspeech/wav").glob("*/so762/00003.*"))[:10]:
        wave = read_audio(str(path))
        features, expected = compute_fbank(wave, FbankOptions()), native_fbank(wave)
        assert features.shape == expected.shape and features.dtype == np.float32
        difference.append(np.abs(features - expected).ravel())
    difference = np.concatenate(difference)
    assert len(difference) > 100_000
    assert difference.mean() < 1e-4
    assert np.quantile(difference, 0.9999) < 5e-3


def test_authors_front_end(repository):
    stored = np.load(repository / "tests/parity/frontend.npz")
    options = read_fbank_conf(repository / "egs/voxceleb/conf/fbank_paper.conf")
    features = compute_fbank(stored["wav"].astype(np.float32), options)
    assert features.shape == (301, 80)
    difference = np.abs(normalise(features, "mean_variance", 0).T - stored["features"])
    assert difference.mean() < 1e-4 and difference.max() < 1e-2


@pytest.mark.parametrize(
    "options",
    [FbankOptions(), FbankOptions(snip_edges=True), FbankOptions(type="efficienttdnn"),
     FbankOptions(sample_frequency=11025.0, frame_shift=12.5)],
)  # fmt: skip
@pytest.mark.parametrize("samples", [400, 401, 479, 480, 481, 16000, 47999, 48000])
def test_number_of_frames_is_known_beforehand(options, samples):
    wave = np.random.default_rng(samples).normal(0, 500, samples).astype(np.float32)
    assert compute_fbank(wave, options).shape == (options.num_frames(samples), 80)


@pytest.mark.parametrize(
    "options",
    [FbankOptions(), FbankOptions(snip_edges=True), FbankOptions(type="efficienttdnn"),
     FbankOptions(frame_length=40, frame_shift=12.5), FbankOptions(sample_frequency=11025.0)],
)  # fmt: skip
def test_frames_of_a_part_are_those_of_the_whole(options):
    wave = np.random.default_rng(0).normal(0, 500, 16077).astype(np.float32)
    for samples in (16077, 16000 + 79, 16000 + 80, 641):
        whole = compute_fbank(wave[:samples], options)
        rows = len(whole)
        for start, frames in {(0, 1), (0, rows), (1, 1), (rows // 2, rows // 4), (rows - 1, 1), (rows - 2, 2)}:
            if frames < 1 or start < 0:
                continue
            first, last, before = options.samples_of(start, frames, samples)
            part = compute_fbank(wave[first:last], options)[before : before + frames]
            np.testing.assert_allclose(part, whole[start : start + frames], atol=1e-5)
            assert last - first <= (frames + 4) * 200 + 2 * 640, "no more than the crop and its margins"


def test_three_seconds_are_300_frames_and_10_ms_are_none():
    assert FbankOptions().num_frames(48000) == 300
    with pytest.raises(BadAudio, match="160 samples are shorter than one window of 25 ms"):
        compute_fbank(np.ones(160, np.float32), FbankOptions())


def test_import_beside_a_cpu_torch_does_not_depend_on_what_was_tried_before():
    code = """
try:
    import torchaudio
except (OSError, ImportError):
    pass
from etdnn.features.fbank import kaldi_compliance
assert kaldi_compliance() is kaldi_compliance()
print(kaldi_compliance().fbank.__name__)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "fbank\n", result.stderr


@pytest.mark.parametrize("folder", CONFS)
def test_recipes_use_the_default_front_end(repository, folder):
    assert read_fbank_conf(repository / folder / "conf/fbank.conf") == FbankOptions()


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "fbank.conf").write_text(text)
    return tmp_path / "fbank.conf"


def test_conf_syntax(tmp_path):
    options = read_fbank_conf(
        write(tmp_path, "# comment\n--num-mel-bins=40  # bins\n\n--snip-edges=true\n--use_power\n")
    )
    assert (options.num_mel_bins, options.snip_edges, options.use_power) == (40, True, True)
    assert FbankOptions.from_dict({"key": options.key, **options.to_dict()}) == options


def test_key_tells_front_ends_apart_and_not_spellings(tmp_path):
    default = FbankOptions().key
    assert read_fbank_conf(write(tmp_path, "--high-freq=-400.0\n--num_mel_bins=80\n")).key == default
    for text in ("--high-freq=-399\n", "--num-mel-bins=79\n", "--snip-edges=true\n", "--type=efficienttdnn\n"):
        assert read_fbank_conf(write(tmp_path, text)).key != default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--num-mel-bin=80\n", r"fbank.conf:1: unknown option --num-mel-bin \(did you mean --num-mel-bins\?\)"),
        ("\nnum-mel-bins=80\n", r"fbank.conf:2: expected --option=value"),
        ("--num-mel-bins=many\n", r"fbank.conf:1: --num-mel-bins: 'many' is no int"),
        ("--snip-edges=perhaps\n", r"fbank.conf:1: --snip-edges: 'perhaps' is no bool"),
        ("--high-freq=9000\n", r"no band up to 8000 Hz"),
        ("--dither=1\n", r"--dither must be 0"),
        ("--window-type=flat\n", r"--window-type=flat is not one of"),
        ("--type=mfcc\n", r"--type=mfcc is not one of kaldi, efficienttdnn"),
        ("--type=efficienttdnn\n--snip-edges=true\n", r"--type=efficienttdnn has no option --snip-edges"),
    ],
)
def test_bad_conf_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_fbank_conf(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_missing_conf(tmp_path):
    with pytest.raises(UserError, match="nothing.conf: cannot be read: No such file"):
        read_fbank_conf(tmp_path / "nothing.conf")

"""Energy VAD against Kaldi's energies and its definition; what it leaves of features, counts, and writes for Kaldi."""

import json
from dataclasses import replace
from pathlib import Path

import kaldi_native_fbank
import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from etdnn.cli import main
from etdnn.data.ark import FeatureReader
from etdnn.data.audio import read_audio
from etdnn.data.datadir import write_data_dir
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank, kaldi_compliance, read_fbank_conf
from etdnn.features.jobs import make_part
from etdnn.features.merge import merge_parts
from etdnn.features.vad import LEAST_VOICED, log_energy, voiced_frames

VAD = FbankOptions(vad=True)
RATE = 16000


def speech_in_silence(before: float, speech: float, after: float, seed: int = 0) -> np.ndarray:
    """Loud noise between stretches of 60 dB less; float32 at int16 scale."""
    samples = [round(RATE * seconds) for seconds in (before, speech, after)]
    level = np.repeat([3.0, 3000.0, 3.0], samples)
    return (np.random.default_rng(seed).standard_normal(sum(samples)) * level).astype(np.float32)


def save(path: Path, wave: np.ndarray) -> Path:
    soundfile.write(path, wave / 32768, RATE)
    return path


def by_definition(energy: np.ndarray, options: FbankOptions) -> list[bool]:
    threshold = options.vad_energy_threshold + options.vad_energy_mean_scale * energy.mean()
    result = []
    for frame in range(len(energy)):
        near = energy[max(0, frame - options.vad_frames_context) : frame + options.vad_frames_context + 1]
        result.append(sum(near > threshold) >= np.float32(len(near)) * np.float32(options.vad_proportion_threshold))
    return result


def test_energies_are_those_of_kaldis_features_on_real_speech(data_root):
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.use_energy = options.raw_energy = True
    paths = sorted((data_root / "realspeech/wav").glob("*/so762/00003.*"))[:5]
    assert paths
    for path in paths:
        wave = read_audio(str(path))
        computer = kaldi_native_fbank.OnlineFbank(options)
        computer.accept_waveform(RATE, wave.tolist())
        computer.input_finished()
        expected = np.array([computer.get_frame(i)[0] for i in range(computer.num_frames_ready)])
        energy = log_energy(wave, FbankOptions())
        assert energy.shape == expected.shape
        assert np.abs(energy - expected).max() < 1e-3
        voiced = voiced_frames(energy, FbankOptions())
        assert np.array_equal(voiced, by_definition(expected, FbankOptions())) and 0.3 < voiced.mean() < 1


@pytest.mark.parametrize(
    "changes",
    [{}, {"snip_edges": True}, {"remove_dc_offset": False}, {"frame_shift": 15.0},
     {"sample_frequency": 11025.0, "frame_shift": 12.5}],
)  # fmt: skip
@pytest.mark.parametrize("samples", [400, 401, 480, 16000, 47999])
def test_energies_stand_in_the_frames_of_the_features(changes, samples):
    wave = np.random.default_rng(samples).normal(20, 500, samples).astype(np.float32)
    options = FbankOptions(use_energy=True, **changes)
    features = compute_fbank(wave, options)
    assert np.abs(log_energy(wave, options) - features[:, 0]).max() < 1e-3


def test_energies_of_the_authors_frames():
    """Frames of 400 samples about every 160th, the ends reflected, as their short-time Fourier transform takes them."""
    wave = np.random.default_rng(1).normal(20, 500, 16100).astype(np.float32)
    options = FbankOptions(type="efficienttdnn", remove_dc_offset=False)
    spectrum = torch.stft(
        torch.from_numpy(wave), 400, 160, window=torch.ones(400), center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.abs().double().square().numpy()
    expected = np.log((power[0] + power[-1] + 2 * power[1:-1].sum(0)) / 400)  # Parseval
    energy = log_energy(wave, options)
    assert energy.shape == (options.num_frames(len(wave)),)
    assert np.abs(energy - expected).max() < 1e-3


@pytest.mark.parametrize("context", [0, 1, 2, 7])
@pytest.mark.parametrize("proportion", [0.12, 0.2, 0.5, 0.6])
def test_decisions_follow_the_definition(context, proportion):
    energy = np.random.default_rng(context).normal(10, 4, 200).astype(np.float32)
    for scale, constant in ((0.5, 5.0), (0.0, 10.0), (1.0, 0.0)):
        options = FbankOptions(
            vad_energy_threshold=constant, vad_energy_mean_scale=scale, vad_frames_context=context,
            vad_proportion_threshold=proportion,
        )  # fmt: skip
        assert np.array_equal(voiced_frames(energy, options), by_definition(energy, options))
        for short in (1, 2, 3):
            assert np.array_equal(voiced_frames(energy[:short], options), by_definition(energy[:short], options))


def test_features_of_voiced_frames_only():
    wave = speech_in_silence(1.0, 1.5, 0.5)
    voiced = voiced_frames(log_energy(wave, VAD), VAD)
    assert not voiced[:95].any() and voiced[105:245].all() and not voiced[255:].any()
    assert np.array_equal(compute_fbank(wave, VAD), compute_fbank(wave, FbankOptions())[voiced])
    authors = FbankOptions(type="efficienttdnn", vad=True)
    assert len(compute_fbank(wave, authors)) == voiced_frames(log_energy(wave, authors), authors).sum() < 160


def test_without_speech_the_utterance_is_left_whole():
    silence = np.random.default_rng(0).normal(0, 3, RATE).astype(np.float32)
    options = replace(VAD, vad_energy_threshold=20.0)
    assert not voiced_frames(log_energy(silence, options), options).any()
    assert np.array_equal(compute_fbank(silence, options), compute_fbank(silence, FbankOptions()))
    little = speech_in_silence(1.0, 0.15, 1.0)
    assert 0 < voiced_frames(log_energy(little, VAD), VAD).sum() < LEAST_VOICED
    assert len(compute_fbank(little, VAD)) == VAD.num_frames(len(little))


def test_the_front_end_knows_its_vad_and_without_it_is_what_it_was(tmp_path):
    plain = FbankOptions(vad_energy_threshold=7.0)
    assert plain.key == FbankOptions().key and not any(name.startswith("vad") for name in plain.to_dict())
    assert len({options.key for options in (FbankOptions(), VAD, replace(VAD, vad_energy_threshold=7.0))}) == 3
    assert FbankOptions.from_dict(json.loads(json.dumps(VAD.to_dict()))) == VAD
    conf = tmp_path / "fbank.conf"
    conf.write_text("--vad-energy-threshold=7 # Kaldi's\n--vad-frames-context=3\n")
    assert not read_fbank_conf(conf).vad
    options = read_fbank_conf(conf, vad=True)
    assert (options.vad, options.vad_energy_threshold, options.vad_frames_context) == (True, 7.0, 3)
    conf.write_text("\n".join(options.to_conf()))
    assert read_fbank_conf(conf) == options
    conf.write_text("--type=efficienttdnn\n--vad=true\n")
    assert read_fbank_conf(conf).vad


@pytest.mark.parametrize(
    "line", ["--vad-proportion-threshold=1", "--vad-energy-mean-scale=-1", "--vad-frames-context=x"]
)
def test_bad_options_are_named(tmp_path, line):
    (tmp_path / "fbank.conf").write_text(line + "\n")
    with pytest.raises(UserError, match=f"fbank.conf.*{line.split('=')[0]}"):
        read_fbank_conf(tmp_path / "fbank.conf")


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two utterances with silence, one of silence alone, a noisy and a faster copy."""
    files = {
        "s1-a": save(tmp_path / "a.wav", speech_in_silence(1.0, 1.0, 1.0, 1)),
        "s1-b": save(tmp_path / "b.wav", speech_in_silence(0.5, 2.0, 0.0, 2)),
        "s2-c": save(tmp_path / "c.wav", speech_in_silence(1.0, 0.1, 1.0, 3)),
    }
    noise = save(tmp_path / "n.wav", speech_in_silence(0.0, 3.0, 0.0, 4))
    wavs = {**files, "s1-noisy": files["s1-a"], "s1-quick": files["s1-a"]}
    tables = {
        "wav.scp": dict(sorted(wavs.items())),
        "utt2spk": {key: key[:2] for key in sorted(wavs)},
        "utt2aug": {"s1-noisy": "noise=n1@0", "s1-quick": "speed=1.25"},
        "augment.scp": {"n1": noise},
    }
    write_data_dir(tmp_path / "set", tables)
    return tmp_path / "set"


def frames(corpus: Path, name: str) -> np.ndarray:
    return voiced_frames(log_energy(read_audio(str(corpus.parent / f"{name}.wav")), VAD), VAD)


def test_parts_are_counted_and_copies_keep_the_frames_of_their_original(corpus):
    said, prefix = [], corpus.parent / "ark/fbank.1"
    assert make_part(corpus, prefix, VAD, compression="fm", seed=0, original_vad=True, say=said.append) == 5
    reader = FeatureReader(f"{prefix}.scp")
    lengths = {key: len(reader.read(key)) for key in reader.keys}
    one, two = frames(corpus, "a"), frames(corpus, "b")
    assert lengths["s1-a"] == one.sum() and lengths["s1-b"] == two.sum() and lengths["s2-c"] == 210
    assert lengths["s1-noisy"] == lengths["s1-a"], "noise between the words does not make them speech"
    assert abs(lengths["s1-quick"] - lengths["s1-a"] / 1.25) <= 4
    counts = json.loads(Path(f"{prefix}.vad.json").read_text())
    assert counts == {"frames": 300 + 250 + 210 + 300 + 240, "kept": sum(lengths.values()), "whole": ["s2-c"]}
    line = f"VAD kept {counts['kept']} of 1300 frames ({counts['kept'] / 13:.1f} %); "
    assert f"{prefix}: {line}1 utterances without speech are left whole" in said
    assert not any("unlike" in text and " 0 with" not in text for text in said), "durations are those before VAD"
    assert merge_parts(corpus, [prefix], say=said.append) == 5
    assert f"{corpus}: {line}1 utterances without speech are left whole, listed in {corpus}/no_speech" in said
    assert (corpus / "no_speech").read_text() == "s2-c\n"
    make_part(corpus, prefix, VAD, compression="fm", seed=0, say=said.append)
    lengths = {key: len(FeatureReader(f"{prefix}.scp").read(key)) for key in lengths}
    assert lengths["s1-a"] == one.sum() and lengths["s1-noisy"] == 300, "without it VAD hears the noise"
    make_part(corpus, prefix, FbankOptions(), compression="fm", seed=0, say=said.append)
    assert not any("done before" in text for text in said), "the stamp sees the options"
    merge_parts(corpus, [prefix], say=said.append)
    assert not (corpus / "no_speech").exists() and "VAD" not in "".join(said[-2:]), "nothing of VAD is left"


def test_noises_keep_all_frames_under_the_front_end_of_the_speech(corpus):
    prefix = corpus.parent / "ark/noise.1"
    make_part(corpus, prefix, VAD, compression="fm", seed=0, all_frames=True, say=lambda _: None)
    assert len(FeatureReader(f"{prefix}.scp").read("s1-a")) == 300
    assert json.loads(Path(f"{prefix}.frontend.json").read_text())["key"] == VAD.key
    assert not Path(f"{prefix}.vad.json").exists()


def test_compute_vad_writes_what_kaldis_tools_read(corpus, capsys):
    prefix = corpus.parent / "vad/set"
    assert main(["compute-vad", str(corpus), str(prefix)]) == 0
    out = capsys.readouterr().out
    assert "no speech: s2-c" in out and "5 utterances; " in out and "1 have no speech" in out
    vectors = dict(kaldiio.load_scp_sequential(f"{prefix}.scp"))
    assert list(vectors) == ["s1-a", "s1-b", "s1-noisy", "s1-quick", "s2-c"]
    assert all(vector.dtype == np.float32 and set(vector) <= {0, 1} for vector in vectors.values())
    assert np.array_equal(vectors["s1-a"], frames(corpus, "a")) and vectors["s1-noisy"].all()
    assert main(["compute-vad", "--vad-energy-threshold", "30", str(corpus), str(prefix)]) == 0
    assert not any(vector.any() for _, vector in kaldiio.load_scp_sequential(f"{prefix}.scp"))


def test_compute_vad_refuses_what_does_not_fit_the_features(corpus, capsys):
    words = ["compute-vad", str(corpus), str(corpus.parent / "vad/set")]
    assert main([*words, "--vad-proportion-threshold", "2"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err
    prefix = corpus.parent / "ark/fbank.1"
    for options, message in (
        (VAD, "its features were made with --vad=true"),
        (FbankOptions(snip_edges=True), "300 frames, its features have 298: give --config the front end"),
    ):
        make_part(corpus, prefix, options, compression="fm", seed=0, say=lambda _: None)
        merge_parts(corpus, [prefix], say=lambda _: None)
        (corpus.parent / "fbank.conf").write_text("--snip-edges=false\n")
        status = main([*words, "--config", str(corpus.parent / "fbank.conf")])
        err = capsys.readouterr().err
        assert (status, err.count("\n")) == (1, 1) and message in err
        assert not (corpus.parent / "vad/set.scp").exists()
    assert main(words) == 0, "the front end of the features is known"


def test_energies_agree_with_torchaudios():
    wave = speech_in_silence(0.3, 0.3, 0.3)
    expected = kaldi_compliance().fbank(
        torch.from_numpy(wave)[None], use_energy=True, dither=0.0, snip_edges=False, energy_floor=0.0
    )[:, 0]
    assert np.abs(log_energy(wave, FbankOptions()) - expected.numpy()).max() < 1e-3

import numpy as np
import pytest
import soundfile
import torch
from helpers.models import noise_wave, random_net, save_model
from helpers.parity import SUBNET, SUPERNET, arrays

import etdnn
from etdnn.data.audio import BadAudio, read_audio
from etdnn.deploy import fast, runtime
from etdnn.deploy.audio import REST_SECONDS, WHOLE_SECONDS, WINDOW_SECONDS, file_windows, merge_rest, prepare_wave
from etdnn.deploy.published import import_checkpoint
from etdnn.embed.extract import embed_features
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, compute_fbank

RATE = 16000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return etdnn.load_model(save_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


def write(path, wave, rate=RATE, **options):
    soundfile.write(path, wave, rate, **options)
    return path


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_embedding_is_that_of_the_recipe(model, tmp_path):
    path = write(tmp_path / "a.wav", noise_wave(2.3))
    features = compute_fbank(read_audio(str(path)), FbankOptions())
    expected = embed_features(model.net, [features], "mean")[0]
    found = model.embed_file(path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    wave, rate = soundfile.read(path, dtype="int16")
    assert np.array_equal(model.embed(wave, rate), found)
    wave, rate = soundfile.read(path)
    assert np.array_equal(model.embed(wave, rate), found)
    assert model.embed(wave, rate).dtype == np.float32 and model.embed(wave, rate).shape == (model.dim,)


def test_front_end_and_normalisation_of_an_imported_subnet(tmp_path):
    import_checkpoint(SUPERNET, tmp_path / "model.safetensors", SUBNET)
    model = etdnn.load_model(tmp_path / "model.safetensors")
    expected = arrays("frontend")
    with torch.no_grad():
        reference = model.net(torch.from_numpy(expected["features"])[None])[0].numpy()
    np.testing.assert_allclose(model.embed(expected["wav"], RATE), reference, atol=1e-3 * np.abs(reference).max())


@pytest.mark.parametrize("layout", ["int16", "int32", "stereo", "channels first", "tensor", "float64"])
def test_sample_forms_agree(model, layout):
    wave = np.round(noise_wave(1.0) * 32768) / 32768
    changed = {
        "int16": (wave * 32768).astype(np.int16),
        "int32": (wave * 32768).astype(np.int32) * 65536,
        "stereo": np.stack([wave + 0.01, wave - 0.01], axis=1),
        "channels first": np.stack([wave, wave]),
        "tensor": torch.from_numpy(wave.astype(np.float32)),
        "float64": wave.astype(np.float64),
    }[layout]
    np.testing.assert_allclose(model.embed(changed, RATE), model.embed(wave, RATE), atol=1e-4)


@pytest.mark.parametrize("rate, channels", [(8000, 1), (44100, 2), (96000, 6)])
def test_any_rate_and_channels(model, tmp_path, rate, channels):
    time = np.arange(2 * rate) / rate
    wave = sum(0.1 * np.sin(2 * np.pi * pitch * time * (1 + 0.1 * time)) for pitch in (200, 450, 900, 1800))
    path = write(tmp_path / "a.wav", np.stack([wave] * channels, axis=1), rate)
    time = np.arange(2 * RATE) / RATE
    reference = sum(0.1 * np.sin(2 * np.pi * pitch * time * (1 + 0.1 * time)) for pitch in (200, 450, 900, 1800))
    extraction = model.extract_file(path)
    assert extraction.seconds == pytest.approx(2, abs=0.001) and extraction.windows == 1
    features = compute_fbank(prepare_wave(np.stack([wave] * channels, 1), rate, RATE), FbankOptions())
    low = slice(0, 40)  # below 4 kHz, which every rate here holds
    expected = compute_fbank(prepare_wave(reference, RATE, RATE), FbankOptions())
    assert np.abs(features[5:-5, low] - expected[5:-5, low]).mean() < 0.35


def test_batches_do_not_change_an_embedding(model):
    waves = [noise_wave(seconds, seed=seed) for seed, seconds in enumerate((1.0, 2.0, 1.0, 0.5, 2.0))]
    together = model.embed_many([(wave, RATE) for wave in waves])
    for row, wave in enumerate(waves):
        np.testing.assert_allclose(together[row], model.embed(wave, RATE), atol=1e-5)


@pytest.mark.parametrize(
    "seconds, lengths",
    [
        (WHOLE_SECONDS, [60]),
        (60.1, [30, 30.1]),
        (WINDOW_SECONDS * 2 + REST_SECONDS, [30, 30, 10]),
        (95, [30, 30, 35]),
        (101, [30, 30, 30, 11]),
        (12, [12]),
    ],
)
def test_windows(seconds, lengths):
    wave = np.arange(int(seconds * 100))
    pieces = (wave[start : start + 3000] for start in range(0, len(wave), 3000))
    windows = list(merge_rest(pieces, 100))
    assert [len(window) / 100 for window in windows] == lengths
    assert np.array_equal(np.concatenate(windows), wave)


def test_windows_of_a_file_are_bounded_and_those_of_the_wave(model, tmp_path):
    wave = noise_wave(200, 8000)
    path = write(tmp_path / "long.flac", wave, 8000)
    windows = list(file_windows(path, RATE))
    assert len(windows) == 7 and max(map(len, windows)) <= (WINDOW_SECONDS + REST_SECONDS) * RATE
    extraction = model.extract_file(path)
    assert (extraction.windows, extraction.seconds) == (7, pytest.approx(200))
    whole = embed_features(model.net, [compute_fbank(np.concatenate(windows), FbankOptions())], "mean")[0]
    assert cosine(extraction.embedding, whole) > 0.99
    np.testing.assert_allclose(model.embed(soundfile.read(path)[0], 8000), extraction.embedding, atol=0.02)


def test_silent_windows_do_not_count(model, tmp_path):
    wave = np.concatenate([noise_wave(30), np.zeros(30 * RATE, np.float32), noise_wave(30, seed=1)])
    extraction = model.extract(wave, RATE)
    assert extraction.windows == 2 and extraction.seconds == 90
    expected = (model.embed(wave[: 30 * RATE], RATE) + model.embed(wave[60 * RATE :], RATE)) / 2
    np.testing.assert_allclose(extraction.embedding, expected, atol=1e-4)


def test_verify_decides_by_the_threshold_of_dev(model, tmp_path):
    a, b = write(tmp_path / "a.wav", noise_wave(1)), write(tmp_path / "b.wav", noise_wave(2, seed=5))
    same = model.verify(a, str(a))
    assert same.score == pytest.approx(1) and same.same is True and same.threshold == 0.4
    assert same.origin == "eer on dev trials of training (clean, cross): 100 target, 900 nontarget trials"
    assert model.verify(a, b, point="min_dcf_0.01").threshold == 0.6
    score = model.similarity(model.embed_file(a), b)
    assert score == pytest.approx(cosine(model.embed_file(a), model.embed_file(b)), abs=1e-6)
    assert model.verify(a, b, threshold=score + 0.01).same is False
    assert model.verify(a, b, threshold=score - 0.01).same is True
    with pytest.raises(UserError, match="no threshold 'best': it has eer, min_dcf_0.01"):
        model.verify(a, b, point="best")
    with pytest.raises(UserError, match="expected an embedding of 192"):
        model.similarity(np.zeros(3), np.zeros(3))


def test_without_thresholds_there_is_a_score_and_no_decision(tmp_path):
    model = etdnn.load_model(save_model(tmp_path / "m.safetensors", thresholds={}))
    found = model.verify(np.ones(192), np.ones(192))
    assert found.score == pytest.approx(1) and found.threshold is None and found.same is None
    assert found.origin.startswith("none")


@pytest.mark.parametrize(
    "wave, rate, message",
    [
        (noise_wave(0.1), RATE, "0.10 s of audio; at least 0.5 s"),
        (np.zeros(RATE), RATE, "silence"),
        (np.full(RATE, 0.5), RATE, "silence"),
        (np.zeros(0), RATE, "no samples"),
        (np.array([[1.0]] * 3)[..., None], RATE, "got shape"),
        (np.where(np.arange(RATE) == 100, np.nan, noise_wave(1)), RATE, "not finite"),
        (np.where(np.arange(RATE) == 100, np.inf, noise_wave(1)), RATE, "not finite"),
        (noise_wave(1) * 32768, RATE, "give floats within -1..1"),
        (noise_wave(1), 0, "sampling rate of 0 Hz"),
        (noise_wave(1), -16000, "sampling rate"),
        (np.zeros(RATE, complex), RATE, "samples of type complex"),
    ],
)
def test_bad_waves(model, wave, rate, message):
    with pytest.raises(UserError, match=message) as raised:
        model.embed(wave, rate)
    assert "\n" not in str(raised.value)


def test_half_a_second_is_enough(model):
    assert model.embed(noise_wave(0.5), RATE).shape == (192,)


def test_bad_files(model, tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(BadAudio, match="no such audio file"):
        model.embed_file(path)
    with pytest.raises(BadAudio, match="a folder, not an audio file"):
        model.embed_file(tmp_path)
    path.write_text("hello\n" * 100)
    with pytest.raises(BadAudio, match="not audio that can be read"):
        model.embed_file(path)
    soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(BadAudio, match="not finite"):
        model.embed_file(path)
    write(tmp_path / "cut.flac", noise_wave(3))
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadAudio, match="cut.flac: (truncated|not audio)"):
        model.embed_file(tmp_path / "cut.flac")


def test_models_that_may_not_be_used(tmp_path):
    with pytest.raises(UserError, match="never re-estimated"):
        etdnn.load_model(save_model(tmp_path / "m.safetensors", calibrated=False))
    with pytest.raises(UserError, match="no 'frontend'"):
        etdnn.load_model(save_model(tmp_path / "m.safetensors", frontend=None))
    with pytest.raises(UserError, match="40 features per frame do not fit"):
        etdnn.load_model(save_model(tmp_path / "m.safetensors", frontend={"num_mel_bins": 40}))


def test_precisions(model, tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", noise_wave(3))
    file = save_model(tmp_path / "m.safetensors")
    monkeypatch.setattr(fast, "MIN_BF16_WEIGHTS", 1)  # the network of the tests is small
    reduced = etdnn.load_model(file, precision="bf16")
    exact, found = model.extract_file(path), reduced.extract_file(path)
    assert (exact.precision, found.precision) == ("fp32", "bf16")
    assert not np.array_equal(exact.embedding, found.embedding) and cosine(exact.embedding, found.embedding) > 0.9999
    assert reduced.verify(path, path).precision == "bf16" and reduced.embedding_space == model.embedding_space
    for units, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(runtime, "has_bf16_units", lambda _, units=units: units)
        assert etdnn.load_model(file, precision="auto").precision == expected
    with pytest.raises(UserError, match="--precision 'int8' is not one of fp32, bf16, auto"):
        etdnn.load_model(file, precision="int8")
    assert runtime.pick_precision("auto", torch.device("cuda")) == "fp32"
    with pytest.raises(UserError, match="bf16 is for CPUs"):
        runtime.pick_precision("bf16", torch.device("cuda"))


def test_net_and_metadata_are_there(model):
    assert str(model.net.arch) == model.metadata["arch"]
    assert torch.equal(model.net.stem.conv.weight, random_net().stem.conv.weight)
    assert not model.net.training and model.rate == RATE and len(model.hash) == 16
    assert model.embedding_space == model.hash


def test_a_model_with_vad_hears_voiced_frames_only(tmp_path):
    """Silence before, within and after speech changes little, in waves and in files; frames are those of VAD."""
    frontend = FbankOptions(vad=True)
    model = etdnn.load_model(save_model(tmp_path / "m.safetensors", frontend=frontend.to_dict()))
    assert model.frontend == frontend
    hush = np.random.default_rng(0).normal(0, 1e-4, 16000).astype(np.float32)
    speech = noise_wave(2.0)
    wave = np.concatenate([hush, speech[:16000], hush, speech[16000:], hush])
    features = compute_fbank(wave * 32768, frontend)
    assert 190 <= len(features) <= 220 < frontend.num_frames(len(wave))
    assert np.array_equal(model.embed(wave, 16000), embed_features(model.encoder, [features], "mean")[0])
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    assert np.array_equal(model.embed_file(tmp_path / "a.wav"), model.embed(wave, 16000))
    hears_all = etdnn.load_model(save_model(tmp_path / "all.safetensors"))
    near = [one.similarity(one.embed(wave, 16000), one.embed(speech, 16000)) for one in (model, hears_all)]
    assert near[0] > 0.97 and near[0] > near[1]
    many = model.embed_many([(wave, 16000), (speech, 16000)])
    assert np.allclose(many[0], model.embed(wave, 16000), atol=1e-5)


def test_of_long_recordings_a_model_with_vad_takes_the_windows_with_speech(tmp_path):
    """Each counts as long as its voiced frames; where no window has speech, all count."""
    model = etdnn.load_model(save_model(tmp_path / "m.safetensors", frontend=FbankOptions(vad=True).to_dict()))
    hum = np.random.default_rng(0).normal(0, 1e-4, 30 * RATE).astype(np.float32)
    brief = np.concatenate([noise_wave(5, seed=1), hum[: 25 * RATE]])
    parts = (hum, noise_wave(30), brief)
    for order in ((0, 1, 2), (1, 0, 2)):
        extraction = model.extract(np.concatenate([parts[place] for place in order]), RATE)
        frames = [len(compute_fbank(part * 32768, model.frontend)) for part in parts[1:]]
        assert extraction.windows == 2 and frames[0] > 5 * frames[1]
        expected = sum(count * model.embed(part, RATE) for count, part in zip(frames, parts[1:], strict=True))
        np.testing.assert_allclose(extraction.embedding, expected / sum(frames), atol=1e-3)
    assert model.extract(np.tile(hum, 3), RATE).windows == 3

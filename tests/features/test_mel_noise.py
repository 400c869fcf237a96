"""Noise in the mel domain: against the fbank of mixed waveforms, against its own formula, and what is drawn."""

import numpy as np
import pytest
import torch

from etdnn.data.ark import ArkWriter, FeatureReader
from etdnn.data.audio import read_audio
from etdnn.data.datadir import write_table
from etdnn.errors import UserError
from etdnn.features.augment import add_noise
from etdnn.features.dequantise import scale, to_device
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.mel_noise import Mixes, NoiseBank, waveform_weights
from etdnn.features.plan import Additive, MelNoise
from etdnn.files import write_json

OPTIONS = FbankOptions()
FRONTEND = {"key": OPTIONS.key, **OPTIONS.to_dict()}
NOTHING = -40.0


def make_bank(folder, matrices, settings, kinds=None, compression="fm", frontend=FRONTEND):
    """Write fbanks of noises (id -> matrix, kind before the hyphen) and return the bank over them."""
    with ArkWriter(folder / "noise.ark", folder / "feats.scp", compression) as writer:
        for key, matrix in sorted(matrices.items()):
            writer.write(key, matrix)
    write_table(folder / "utt2spk", {key: key.split("-")[0] for key in matrices})
    write_json(folder / "frontend.json", frontend)
    return NoiseBank(folder, settings, FRONTEND)


def mixes(sources, snr, places=0.0):
    sources = np.atleast_2d(np.array(sources, np.int64))
    return Mixes(sources, np.full(sources.shape, places), np.full(len(sources), snr, np.float32))


def random_log_mel(frames, seed=0, bins=80):
    return np.random.default_rng(seed).normal(12, 3, (frames, bins)).astype(np.float32)


@pytest.fixture
def bank(tmp_path):
    noises = {f"{kind}-{i}": random_log_mel(50 + 40 * i, i) for kind in ("noise", "babble") for i in range(4)}
    settings = MelNoise(probability=0.6, babble=Additive([10.0, 20.0], [3, 5]), kinds={"noise": 2, "babble": 1})
    return make_bank(tmp_path / "bank", noises, settings)


def test_gain_is_exact_where_speech_and_noise_share_no_bin(tmp_path):
    speech, noise = random_log_mel(90, 1), random_log_mel(90, 2)
    speech[:, 40:], noise[:, :40] = NOTHING, NOTHING
    bank = make_bank(tmp_path, {"noise-a": noise}, MelNoise(probability=1))
    mixed = bank.add(torch.from_numpy(speech.copy())[None], mixes([[0]], 7.0))[0].numpy()
    np.testing.assert_allclose(mixed[:, :40], speech[:, :40], atol=1e-5)
    weights = waveform_weights(OPTIONS)
    power = (np.exp(mixed.astype(np.float64)) * weights).sum(0)
    assert 10 * np.log10(power[:40].sum() / power[40:].sum()) == pytest.approx(7.0, abs=1e-3)
    gain = mixed[:, 40:] - noise[:, 40:]
    assert np.ptp(gain) < 1e-4, "one gain for the whole crop"


def test_infinite_snr_and_no_source_change_no_bit(bank):
    crops = torch.from_numpy(np.stack([random_log_mel(60, seed) for seed in range(3)]))
    assert torch.equal(bank.add(crops.clone(), mixes([[0], [5], [7]], np.inf)), crops)
    assert torch.equal(bank.add(crops.clone(), mixes([[-1], [-1], [-1]], 0.0)), crops)
    one = bank.add(crops.clone(), mixes([[-1], [2], [-1]], 0.0))
    assert torch.equal(one[[0, 2]], crops[[0, 2]]) and (one[1] > crops[1]).all()


def test_sources_are_summed_or_averaged(tmp_path):
    speech = random_log_mel(90, 1)
    noises = {"babble-a": random_log_mel(90, 2), "babble-b": random_log_mel(90, 3)}
    weights = waveform_weights(OPTIONS).astype(np.float64)

    def level(log_mel):
        return (np.exp(log_mel.astype(np.float64)) @ weights).mean()

    scaled = sum(np.exp(n.astype(np.float64)) * level(speech) / level(n) * 10**-0.4 for n in noises.values())
    for average, share in ((False, 1), (True, 0.25)):
        bank = make_bank(tmp_path, noises, MelNoise(probability=1, average_sources=average))
        mixed = bank.add(torch.from_numpy(speech.copy())[None], mixes([[0, 1]], 4.0))[0].numpy()
        expected = np.log(np.exp(speech.astype(np.float64)) + share * scaled)
        np.testing.assert_allclose(mixed, expected, atol=2e-5)


def test_silent_sources_add_nothing_and_short_ones_are_repeated(tmp_path):
    speech = random_log_mel(90, 1)
    floor = np.full((90, 80), np.log(np.finfo(np.float32).eps), np.float32)
    bank = make_bank(tmp_path, {"noise-a": floor, "noise-b": random_log_mel(30, 4)}, MelNoise(probability=1))
    crops = torch.from_numpy(np.stack([speech, np.full_like(speech, NOTHING)]))
    mixed = bank.add(crops.clone(), mixes([[0], [1]], 0.0, places=0.5))
    assert torch.equal(mixed[0], crops[0])
    np.testing.assert_allclose(mixed[1, :30], mixed[1, 30:60], atol=1e-4)


def test_draws_are_seeded_and_as_asked(bank):
    drawn, again, other = (bank.draw(4000, 0, "mel noise", "p", step) for step in (3, 3, 4))
    for name in ("sources", "places", "snr"):
        assert np.array_equal(getattr(drawn, name), getattr(again, name))
        assert not np.array_equal(getattr(drawn, name), getattr(other, name))
    number = (drawn.sources >= 0).sum(1)
    assert np.mean(number > 0) == pytest.approx(0.6, abs=0.03)
    names = np.array(["babble" if bank.reader.keys[s].startswith("babble") else "noise" for s in drawn.sources[:, 0]])
    noise, babble = (number > 0) & (names == "noise"), (number > 0) & (names == "babble")
    assert noise.sum() / (number > 0).sum() == pytest.approx(2 / 3, abs=0.04)
    assert set(number[noise]) == {1} and set(number[babble]) == {3, 4, 5}
    assert drawn.snr[noise].min() >= 0 and drawn.snr[noise].max() <= 15 and np.ptp(drawn.snr[noise]) > 14
    assert drawn.snr[babble].min() >= 10 and drawn.snr[babble].max() <= 20
    used = drawn.sources[babble]
    assert all(bank.reader.keys[s].startswith("babble") for s in np.unique(used[used >= 0]))


def test_the_order_in_which_kinds_are_written_draws_nothing_else(bank, tmp_path):
    """A resumed training compares its settings by name, and must go on with the same draws."""
    turned = MelNoise(**{**vars(bank.settings), "kinds": dict(reversed(bank.settings.kinds.items()))})
    assert turned == bank.settings
    drawn, again = (one.draw(100, 0) for one in (bank, NoiseBank(tmp_path / "bank", turned, FRONTEND)))
    assert np.array_equal(drawn.sources, again.sources) and np.array_equal(drawn.snr, again.snr)


def test_parts_of_a_batch_are_those_of_the_whole(bank):
    crops = torch.from_numpy(np.stack([random_log_mel(60, seed) for seed in range(24)]))
    drawn = bank.draw(24, 1, "mel noise", "p", 0)
    whole = bank.add(crops.clone(), drawn)
    assert not torch.equal(whole, crops)
    parts = [bank.add(crops[first : first + 8].clone(), drawn[first : first + 8]) for first in (0, 8, 16)]
    np.testing.assert_allclose(torch.cat(parts), whole, atol=1e-6)
    assert torch.equal(bank.add(crops.clone(), drawn.without(np.ones(24, bool))), crops)


@pytest.mark.parametrize("compression", ["cm2", "cm3", "cm"])
def test_compressed_noises_mix_as_uncompressed_ones(tmp_path, compression):
    noise, speech = {"noise-a": random_log_mel(200, 2)}, torch.from_numpy(random_log_mel(90, 1))[None]
    exact = make_bank(tmp_path / "fm", noise, MelNoise(probability=1))
    coded = make_bank(tmp_path / compression, noise, MelNoise(probability=1), compression=compression)
    both = [bank.add(speech.clone(), mixes([[0]], 5.0, places=0.7)) for bank in (exact, coded)]
    assert (both[0] - both[1]).abs().max() < {"cm2": 1e-3, "cm3": 0.1, "cm": 0.3}[compression]


def test_distance_to_the_fbank_of_the_mixed_waveforms(tmp_path, data_root):
    """bench/augmentation.py prints both figures for many mixtures."""
    speakers = sorted((data_root / "realspeech/wav").glob("*/so762"))[:6]
    sounds = sorted((data_root / "musan_like/noise/esc10").glob("*"))[:60:10]
    distances, errors, shifts = [], [], []
    for speaker, sound in zip(speakers, [path for path in sounds if path.suffix == ".flac"], strict=False):
        speech = read_audio(str(sorted(speaker.iterdir())[0]))[:32000]
        noise = np.resize(read_audio(str(sound)), len(speech))
        mixed = compute_fbank(add_noise(speech, [noise], 5.0), OPTIONS)
        bank = make_bank(tmp_path, {"noise-a": compute_fbank(noise, OPTIONS)}, MelNoise(probability=1))
        clean = compute_fbank(speech, OPTIONS)
        ours = bank.add(torch.from_numpy(clean.copy())[None], mixes([[0]], 5.0))[0].numpy()
        distances.append(np.abs(ours - mixed).mean())
        shifts.append(np.abs(clean - mixed).mean())
        weights = waveform_weights(OPTIONS)
        levels = [(np.exp(f.astype(np.float64)) @ weights).mean() for f in (clean, compute_fbank(noise, OPTIONS))]
        true = np.mean(speech.astype(np.float64) ** 2) / np.mean(noise.astype(np.float64) ** 2)
        errors.append(10 * np.log10(levels[0] / levels[1] / true))
    assert len(distances) >= 4
    assert np.mean(distances) < 0.2 * np.mean(shifts) and np.max(distances) < 0.3, "log power per value"
    assert np.abs(errors).max() < 0.2, "dB between the SNR of the waveforms and the one of the weighed bins"


def test_missing_kinds_are_named_and_wrong_banks_refused(tmp_path):
    matrices = {"noise-a": random_log_mel(30)}
    bank = make_bank(tmp_path / "a", matrices, MelNoise(probability=1))
    assert bank.missing == ["music", "babble"] and (bank.draw(50, 0).sources == 0).any()
    with pytest.raises(UserError, match="no noises of kind music"):
        make_bank(tmp_path / "a", matrices, MelNoise(probability=1, kinds={"music": 1}))
    with pytest.raises(UserError, match="front end other"):
        make_bank(tmp_path / "b", matrices, MelNoise(probability=1), frontend={**FRONTEND, "key": "other"})
    with pytest.raises(UserError, match="--use-power=false"):
        make_bank(tmp_path / "c", matrices, MelNoise(probability=1), frontend={**FRONTEND, "use_power": False})
    with pytest.raises(UserError, match="store_noise"):
        NoiseBank(tmp_path / "nowhere", MelNoise(probability=1), FRONTEND)
    for wrong, message in (
        ({"probability": 1.2}, "probability 1.2"),
        ({"kinds": {"hum": 1}}, "kinds: 'hum'"),
        ({"kinds": {"noise": 0}}, "kinds: weights"),
    ):
        with pytest.raises(ValueError, match=message):
            MelNoise(**wrong)


@pytest.mark.parametrize("compression", ["fm", "cm2", "cm3", "cm"])
def test_codes_scaled_on_a_device_are_those_scaled_in_memory(tmp_path, compression):
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp", compression) as writer:
        for index in range(5):
            writer.write(f"u{index}", random_log_mel(100, index))
    crops = FeatureReader(tmp_path / "a.scp").read_quantised([0, 3, 4], [0, 7, 60], 80)
    on_device = scale(*(torch.from_numpy(part) for part in (crops.codes, crops.minimum, crops.step)))
    assert on_device.dtype == torch.float32 and np.array_equal(on_device.numpy(), crops.to_float())
    assert torch.equal(to_device(crops, torch.device("cpu")), on_device)

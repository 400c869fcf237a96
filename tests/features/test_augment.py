"""Each effect against what defines it: SNR, energy, pitch, length, level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etdnn.features import augment

RATE = 16000


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 3000.0) -> np.ndarray:
    time = np.arange(int(RATE * seconds)) / RATE
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def pitch(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * RATE / len(wave))


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / np.mean(noise.astype(np.float64) ** 2)))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_length_and_pitch(factor):
    wave = augment.change_speed(tone(440, 2), factor)
    assert abs(len(wave) - 2 * RATE / factor) <= 1
    assert pitch(wave) == pytest.approx(440 * factor, abs=1.5)


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.97, 2.0, 1.0])
def test_a_part_at_another_speed_is_that_of_the_whole(factor):
    source = np.random.default_rng(0).normal(0, 1000, 9001).astype(np.float32)
    whole = augment.change_speed(source, factor)
    assert len(whole) == augment.length_at_speed(len(source), factor)
    generator = np.random.default_rng(1)
    spans = np.sort(generator.integers(0, len(whole) + 1, (40, 2)), axis=1).tolist()
    for first, last in [(0, len(whole)), (0, 1), (len(whole) - 1, len(whole)), *spans]:
        if first < last:
            part = augment.read_at_speed(source, factor, first, last)
            np.testing.assert_allclose(part, whole[first:last], atol=1e-2)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.2])
def test_tempo_changes_length_and_keeps_pitch(factor):
    original = tone(440, 2) + tone(1210, 2, 1000)
    wave = augment.change_tempo(original, factor)
    assert len(wave) == round(2 * RATE / factor)
    assert pitch(wave) == pytest.approx(440, abs=1.5)
    assert decibels(original, wave) == pytest.approx(0, abs=0.3)


def test_tempo_of_speech_keeps_the_spectrum(data_root):
    from etdnn.data.audio import read_audio

    speech = read_audio(str(sorted((data_root / "realspeech/wav").glob("*/so762/00001.*"))[0]))
    slower = augment.change_tempo(speech, 0.8)

    def bands(wave):
        power = np.abs(np.fft.rfft(wave)) ** 2
        edges = np.linspace(0, len(power), 17).astype(int)
        return 10 * np.log10(np.add.reduceat(power, edges[:-1]) / np.sum(power))

    assert np.abs(bands(speech) - bands(slower))[:12].max() < 3


@pytest.mark.parametrize("samples", [400, 1000, 1500])
def test_tempo_and_speed_of_short_audio(samples):
    wave = np.random.default_rng(0).normal(0, 100, samples).astype(np.float32)
    for factor in (0.8, 1.2):
        assert len(augment.change_tempo(wave, factor)) == round(samples / factor)
        assert np.isfinite(augment.change_tempo(wave, factor)).all()


def test_compand_lifts_quiet_parts_by_3_db_and_loud_ones_less():
    quiet, loud = tone(200, amplitude=300), tone(200, amplitude=32768)
    assert decibels(augment.compand(quiet), quiet) == pytest.approx(3, abs=0.01)
    assert decibels(augment.compand(loud), loud) < 0.3
    both = augment.compand(np.concatenate([loud, quiet]))[RATE:]
    early, late = both[: RATE // 8], both[-RATE // 8 :]
    assert decibels(late, early) > 0.5, "the gain comes back slowly after a loud part"


def test_reverberation_keeps_the_direct_path_in_place_and_energy():
    response = np.zeros(4000, np.float32)
    response[[700, 1500, 3999]] = [0.6, 0.3, 0.1]
    wave = np.random.default_rng(0).normal(0, 1000, RATE).astype(np.float32)
    wet = augment.reverberate(wave, response)
    assert len(wet) == len(wave) and wet.dtype == np.float32
    lags = np.correlate(wet, wave[1000:-1000], "valid")
    assert np.argmax(np.abs(lags)) == 1000
    assert decibels(wet, wave) == pytest.approx(0, abs=0.2)
    unit = response.astype(np.float64) / np.sqrt(np.sum(response.astype(np.float64) ** 2))
    np.testing.assert_allclose(wet, np.convolve(wave, unit)[700 : 700 + len(wave)], atol=0.05)


@settings(max_examples=25, deadline=None)
@given(snr=st.floats(-5, 30), length=st.integers(100, 3000), seed=st.integers(0, 99))
def test_noise_has_the_snr_asked_for_whatever_its_length(snr, length, seed):
    rng = np.random.default_rng(seed)
    wave, noise = rng.normal(0, 500, 2000).astype(np.float32), rng.normal(0, 3, length).astype(np.float32)
    mixed = augment.apply_recipe(wave, {"noise": f"n@{snr}"}, {"n": noise}.__getitem__, rng)
    assert decibels(wave, mixed.astype(np.float64) - wave) == pytest.approx(snr, abs=0.05)


def test_sources_are_summed_or_averaged():
    rng = np.random.default_rng(0)
    wave = rng.normal(0, 500, 8000).astype(np.float32)
    sources = [rng.normal(0, scale, 8000).astype(np.float32) for scale in (1, 10, 100)]
    summed = augment.add_noise(wave, sources, 15) - wave
    averaged = augment.add_noise(wave, sources, 15, average=True) - wave
    assert decibels(wave, summed) == pytest.approx(15 - 10 * np.log10(3), abs=0.2)
    np.testing.assert_allclose(averaged, summed / 3, atol=0.01)


def test_silent_noise_adds_nothing_and_silent_room_is_refused():
    from etdnn.data.audio import BadAudio

    wave = tone(300)
    assert np.array_equal(augment.add_noise(wave, [np.zeros(len(wave), np.float32)], 5), wave)
    with pytest.raises(BadAudio, match="silent"):
        augment.reverberate(wave, np.zeros(100, np.float32))


def test_effects_are_applied_in_a_fixed_order():
    rng = np.random.default_rng
    wave, noise, room = tone(300), rng(1).normal(0, 9, 900).astype(np.float32), rng(2).normal(0, 1, 50)
    load = {"n": noise, "r": room.astype(np.float32)}.__getitem__
    result = augment.apply_recipe(wave, augment.parse_recipe("noise=n@10 speed=1.1 reverb=r"), load, rng(3))
    by_hand = augment.reverberate(augment.change_speed(wave, 1.1), load("r"))
    by_hand = augment.add_noise(by_hand, [augment.fit_length(noise, len(by_hand), rng(3))], 10)
    assert np.array_equal(result, by_hand)


def test_recipes_are_parsed_and_written():
    text = "speed=0.9 reverb=room-1 babble=a,b,c@13.50 average=1"
    recipe = augment.parse_recipe(text)
    assert augment.format_recipe(recipe) == text
    assert augment.sources_of(recipe) == ["room-1", "a", "b", "c"]
    assert augment.length_factor(recipe) == pytest.approx(1 / 0.9)


@pytest.mark.parametrize(
    "text", ["louder=2", "speed", "speed=fast", "speed=9", "noise=a", "noise=@3", "noise=a,@3", "compand=1 compand=1"]
)
def test_bad_recipes(text):
    with pytest.raises(ValueError):  # noqa: PT011 (float's own message is one of them)
        augment.parse_recipe(text)

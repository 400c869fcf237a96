import numpy as np
import pytest
import soundfile

from etdnn.data.acoustics import NOISE_KINDS, RATE, draw_noise, draw_rir, make_noises, make_rirs
from etdnn.errors import UserError
from etdnn.seeding import numpy_generator


def spectral_centre(audio):
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(audio), 1 / RATE)) / np.sum(power))


def reverberation_time(response):
    decay = np.cumsum(response[::-1].astype(float) ** 2)[::-1]
    decibels = 10 * np.log10(decay / decay[0] + 1e-12)
    return 3 * (np.argmax(decibels < -25) - np.argmax(decibels < -5)) / RATE


@pytest.mark.parametrize("make", [make_noises, make_rirs])
def test_files_are_equal_in_every_run_and_for_any_count(tmp_path, make):
    first = make(tmp_path / "a", seed=3, count=8)
    second = make(tmp_path / "b", seed=3, count=5)
    other = make(tmp_path / "c", seed=4, count=5)
    assert [name for name, _ in first] == sorted(name for name, _ in first)
    for (name, path), (name_again, again), (_, different) in zip(first, second, other, strict=False):
        assert name == name_again
        assert path.read_bytes() == again.read_bytes()
        assert path.read_bytes() != different.read_bytes()
    assert sorted(tmp_path.joinpath("a").iterdir()) == [path for _, path in first], "temporary files were left behind"


def test_noises_are_16_khz_flac_of_the_wanted_length_and_not_clipped(tmp_path):
    for _, path in make_noises(tmp_path, seed=0, count=2 * len(NOISE_KINDS), seconds=2.5):
        audio, rate = soundfile.read(path)
        assert soundfile.info(path).format == "FLAC"
        assert rate == RATE
        assert audio.shape == (40000,)
        assert 0.005 < np.sqrt(np.mean(audio**2)) < 0.11
        assert np.abs(audio).max() < 0.92


def test_noises_are_varied():
    noises = [draw_noise(numpy_generator(0, index), 4.0, index) for index in range(36)]
    centres = [spectral_centre(noise) for noise in noises]
    assert min(centres) < 500
    assert max(centres) > 4000
    impulsive = list(NOISE_KINDS).index("impulsive")
    peakiness = [np.mean(noise**4) / np.mean(noise**2) ** 2 for noise in noises]
    assert np.median(peakiness[impulsive::6]) > 2 * np.median(peakiness[0::6])


def test_rooms_reverberate_as_long_as_asked():
    for wanted in (0.15, 0.3, 0.5, 0.7):
        measured = np.median([reverberation_time(draw_rir(numpy_generator(1, i), wanted)) for i in range(9)])
        assert measured == pytest.approx(wanted, rel=0.25)


def test_rooms_begin_with_the_direct_path_and_differ_in_colour():
    rooms = [draw_rir(numpy_generator(2, index)) for index in range(20)]
    for room in rooms:
        assert np.abs(room).max() == pytest.approx(0.9)
        assert np.argmax(np.abs(room) > 0.1) < 0.02 * RATE
    centres = [spectral_centre(room) for room in rooms]
    assert max(centres) > 1.3 * min(centres)


def test_high_bands_decay_faster():
    def tail_centre(room, start):
        return spectral_centre(room[int(start * RATE) : int((start + 0.1) * RATE)])

    rooms = [draw_rir(numpy_generator(3, index), 0.6) for index in range(10)]
    assert np.mean([tail_centre(room, 0.35) for room in rooms]) < 0.7 * np.mean([tail_centre(r, 0.02) for r in rooms])


def test_nothing_to_make_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="count is 0"):
        make_noises(tmp_path, seed=0, count=0)
    with pytest.raises(UserError, match="seconds is -1"):
        make_noises(tmp_path, seed=0, count=1, seconds=-1)

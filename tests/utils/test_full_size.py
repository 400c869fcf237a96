"""The tools at VoxCeleb's size: 1.2 million utterances, no process per line, memory in proportion."""

import resource
from pathlib import Path

import pytest
from helpers.data_dirs import run_script

SPEAKERS, EACH = 6000, 200


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("big") / "data"
    data.mkdir()
    names = ("utt2spk", "spk2utt", "wav.scp", "utt2session", "utt2dur", "feats.scp", "utt2num_frames")
    rows: dict[str, list[str]] = {name: [] for name in names}
    for number in range(SPEAKERS):
        speaker = f"id{number:05d}"
        keys = [f"{speaker}-v-{index // 10:02d}-{index:05d}" for index in range(EACH)]
        rows["spk2utt"].append(f"{speaker} {' '.join(keys)}\n")
        for index, key in enumerate(keys):
            rows["utt2spk"].append(f"{key} {speaker}\n")
            rows["wav.scp"].append(f"{key} /data/voxceleb2/dev/aac/{speaker}/v-{index // 10:02d}/{index:05d}.m4a\n")
            rows["utt2session"].append(f"{key} {speaker}-v-{index // 10:02d}\n")
            rows["utt2dur"].append(f"{key} {4 + index % 9}.{index % 100:02d}\n")
            rows["feats.scp"].append(f"{key} fbank/fbank.{number % 32}.ark:{index * 1000}\n")
            rows["utt2num_frames"].append(f"{key} {400 + index}\n")
    for name, lines in rows.items():
        (data / name).write_text("".join(lines))
    return data


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["validate_data_dir.sh", "{}"], None),
        (["split_data.sh", "{}", "32"], {"split32/32/wav.scp": 37600}),
        (["split_data.sh", "--per-utt", "{}", "32"], {"split32utt/32/wav.scp": 37500}),
        (["subset_data_dir.sh", "--speakers", "{}", "100000", "{}/../part"], {"../part/feats.scp": 100000}),
        (["copy_data_dir.sh", "--utt-suffix", "-noise", "{}", "{}/../noise"], {"../noise/utt2uniq": 1200000}),
        (["combine_data.sh", "{}/../all", "{}", "{}/../noise"], {"../all/utt2spk": 2400000}),
        (["fix_data_dir.sh", "{}"], {"utt2spk": 1200000}),
    ],
)
def test_seconds_for_over_a_million_lines(big: Path, words: list[str], lines: dict[str, int] | None) -> None:
    before = cpu_seconds()
    result = run_script(words[0], *[word.format(big) for word in words[1:]])
    assert result.returncode == 0, result.stderr
    print(f"{words[0]}: {cpu_seconds() - before:.1f} CPU seconds")
    for name, count in (lines or {}).items():
        with (big / name).open("rb") as handle:
            assert sum(1 for _ in handle) == count
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 * 2**20  # kB: 2 GiB

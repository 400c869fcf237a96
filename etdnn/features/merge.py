"""Features of all parts into a data directory; how much disc they take; whether they can be read back."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from etdnn.data.ark import FeatureReader
from etdnn.data.ark_format import BYTES_PER_VALUE
from etdnn.data.datadir import DataDir, read_table, speaker_to_utterances, write_table
from etdnn.data.trials import read_trials, write_trials
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions
from etdnn.features.jobs import PartFiles, is_done, vad_line
from etdnn.files import atomic_path, size_text, write_text

_LEAST_SHARE = 0.95
_UTTERANCE_TABLES = ("wav.scp", "segments", "utt2session", "utt2dur", "utt2aug", "utt2uniq")
_RECORDING_TABLES = ("wav.scp", "reco2dur", "reco2file_and_channel")
_BYTES_PER_UTTERANCE = 200  # header, key, and the lines of scp and utt2num_frames, twice
_HEADROOM = 1.05


def merge_parts(
    data: Path,
    prefixes: Sequence[Path],
    check: int = 200,
    say: Callable[[str], None] = print,
    *,
    trials_too: bool = False,
) -> int:
    """Write feats.scp, utt2num_frames and frontend.json of data directory `data`; return the number of utterances.

    Utterances without features are dropped from every table, if they are at most max(10, 0.1 %) and features exist for
    at least 95 %; otherwise UserError, and nothing is changed. `check` utterances (0: none, -1: all) are read back and
    looked at. feats.scp is written last: where it is, the others are. With `trials_too` the trials of dropped
    utterances go as well: right for dev lists, which stage 0 drew, wrong for published ones.
    """
    parts = [PartFiles(prefix) for prefix in prefixes]
    for part in parts:
        if not is_done(part):
            raise UserError(f"{part.prefix}: this part is not finished (run stage 1 again)")
    fronts = {part.named("frontend.json").read_text(encoding="utf-8") for part in parts}
    if len(fronts) > 1:
        raise UserError(f"{data}: parts were made by different front ends (run stage 1 again)")
    utterances = DataDir(data).utt2spk
    found = _ids(parts)
    missing = [key for key in utterances if key not in found]
    if strange := next((key for key in found if key not in utterances), None):
        raise UserError(f"{data}: features of '{strange}', which is not in utt2spk (run stage 1 again)")
    _check_missing(data, missing, len(utterances), parts)
    if check:
        say(check_features([part.named("scp") for part in parts if part.named("scp").stat().st_size], check))
    (data / "feats.scp").unlink(missing_ok=True)
    if missing:
        if trials_too:  # first: broken off, the utterances are still there to tell which trials go
            drop_trials(data, set(missing), say)
        drop_utterances(data, set(missing))
        say(f"{data}: dropped {len(missing)} utterances whose audio is bad, e.g. {missing[0]}")
    _concatenate([part.named("utt2num_frames") for part in parts], data / "utt2num_frames")
    _note_vad(data, parts, say)
    with atomic_path(data / "frontend.json") as temporary:
        temporary.write_text(fronts.pop(), encoding="utf-8")
    _concatenate([part.named("scp") for part in parts], data / "feats.scp")
    say(f"{data}: {len(found)} of {len(utterances)} utterances have features")
    return len(found)


def _note_vad(data: Path, parts: Sequence[PartFiles], say: Callable[[str], None]) -> None:
    """Say what VAD did to all parts, and list the utterances without speech in `data`/no_speech, if there are any."""
    found = [json.loads(part.named("vad.json").read_text()) for part in parts if part.named("vad.json").is_file()]
    whole = sorted(key for counts in found for key in counts["whole"])
    if whole:
        write_text(data / "no_speech", "".join(f"{key}\n" for key in whole))
    else:
        (data / "no_speech").unlink(missing_ok=True)
    if found:
        frames, kept = (sum(counts[name] for counts in found) for name in ("frames", "kept"))
        listed = f", listed in {data}/no_speech" if whole else ""
        say(f"{data}: {vad_line(frames, kept, len(whole))}{listed}")


def check_features(scps: Sequence[Path], number: int = 200) -> str:
    """Read back `number` utterances evenly over the lists (-1: all) and return a line about them.

    Every ark's length against its last matrix is looked at too. UserError for what cannot be read, values that are not
    finite and features without variance; ark and key are named.
    """
    reader = FeatureReader(scps)
    total = len(reader)
    chosen = np.arange(total) if number < 0 else np.unique(np.linspace(0, total - 1, min(number, total)).astype(int))
    means, deviations = [], []
    for index in chosen.tolist():
        features = reader.read(index)
        if not np.isfinite(features).all() or np.ptp(features, axis=0).max() == 0:
            raise UserError(f"{scps[0]}: {reader.keys[index]}: features are not finite or constant (run stage 1 again)")
        means.append(features.mean())
        deviations.append(features.std())
    return (
        f"read back {len(chosen)} of {total} utterances: mean {np.mean(means):.2f}, deviation {np.mean(deviations):.2f}"
    )


def drop_utterances(data: Path, drop: set[str]) -> None:
    """Take utterances out of every table of a data directory; each table is replaced at once.

    Where there are segments, recordings that none of them names any more go too, as Kaldi's checks want it. utt2spk
    comes last: broken off, it still tells the next call which utterances go.
    """
    segmented = (data / "segments").is_file()
    for name in _UTTERANCE_TABLES:
        if not (segmented and name in _RECORDING_TABLES):
            _keep(data / name, lambda key: key not in drop)
    if segmented:
        heard = {value.split()[0] for value in read_table(data / "segments").values()}
        for name in _RECORDING_TABLES:
            _keep(data / name, heard.__contains__)
    utt2spk = {key: value for key, value in read_table(data / "utt2spk").items() if key not in drop}
    speakers = speaker_to_utterances(utt2spk)
    write_table(data / "spk2utt", {speaker: " ".join(keys) for speaker, keys in speakers.items()})
    if (data / "spk2gender").is_file():
        genders = read_table(data / "spk2gender")
        write_table(data / "spk2gender", {key: value for key, value in genders.items() if key in speakers})
    write_table(data / "utt2spk", utt2spk)


def _keep(path: Path, wanted: Callable[[str], bool]) -> None:
    """Restrict a table, if it is there, to wanted ids."""
    if path.is_file():
        write_table(path, {key: value for key, value in read_table(path).items() if wanted(key)})


def drop_trials(data: Path, drop: set[str], say: Callable[[str], None]) -> None:
    """Take the trials of dropped utterances out of every list of a data directory; say how many."""
    for name in DataDir(data).trial_names():
        path = data / f"trials_{name}"
        trials = read_trials(path)
        keep = np.array([a not in drop and b not in drop for a, b in zip(trials.enrol, trials.test, strict=True)])
        if not keep.all():
            write_trials(path, trials.kept(keep))
            say(f"{path}: dropped {int((~keep).sum())} of {len(keep)} trials, whose utterances have no features")


def expected_bytes(seconds: Iterable[float], options: FbankOptions, compression: str) -> int:
    """Return the bytes that features of utterances of these lengths take on disc."""
    lengths = np.fromiter(seconds, np.float64)
    values = lengths.sum() * options.frames_per_second * options.dim
    return int(values * BYTES_PER_VALUE[compression] + len(lengths) * _BYTES_PER_UTTERANCE)


def check_disc(data: Sequence[Path], featdir: Path, options: FbankOptions, compression: str) -> list[str]:
    """Return a line per data directory with its expected size, and a sum; UserError when that does not fit.

    What is there from an earlier or interrupted run counts as made already.
    """
    lines, wanted = [], 0
    for path in data:
        directory = DataDir(path)
        if not directory.utt2dur:
            raise UserError(f"{path}/utt2dur: missing; stage 0 makes it")
        size = expected_bytes(directory.utt2dur.values(), options, compression)
        there = _size_of(featdir / options.key / path.name)
        hours = sum(directory.utt2dur.values()) / 3600
        counts = f"{len(directory.utt2dur)} utterances, {hours:.2f} h"
        lines.append(f"{path}: {counts}, {size_text(size)} of features ({size_text(there)} there)")
        wanted += max(0, size - there)
    existing = featdir
    while not existing.exists():
        existing = existing.absolute().parent
    free = shutil.disk_usage(existing).free
    if wanted * _HEADROOM > free:
        raise UserError(
            f"{featdir}: features need {size_text(wanted)} more, {size_text(free)} are free "
            "(--featdir on another disc, or --compression cm3)"
        )
    return [*lines, f"{featdir}: {size_text(wanted)} more are needed, {size_text(free)} are free"]


def _check_missing(data: Path, missing: list[str], total: int, parts: Sequence[PartFiles]) -> None:
    allowed = max(10, total // 1000)
    if len(missing) <= allowed and total - len(missing) >= _LEAST_SHARE * total:
        return
    listed = ", ".join(str(part.named("failed")) for part in parts if part.named("failed").stat().st_size)
    raise UserError(
        f"{data}: {len(missing)} of {total} utterances have no features, e.g. {' '.join(missing[:5])} "
        f"(at most {allowed} and 5 % may lack them; reasons in {listed})"
    )


def _ids(parts: Sequence[PartFiles]) -> set[str]:
    found: set[str] = set()
    for part in parts:
        with part.named("utt2num_frames").open(encoding="utf-8", errors="surrogateescape") as lines:
            keys = [line.split(" ", 1)[0] for line in lines]
        if duplicate := found.intersection(keys):
            raise UserError(f"{part.prefix}: '{min(duplicate)}' is in another part too (run stage 1 again)")
        found.update(keys)
    return found


def _concatenate(sources: Sequence[Path], target: Path) -> None:
    """Join sorted lists into one sorted list; parts of a sorted directory follow each other already."""
    with atomic_path(target) as temporary:
        with temporary.open("wb") as out:
            previous, ordered = b"", True
            for source in sources:
                with source.open("rb") as lines:
                    for line in lines:
                        key = line.split(b" ", 1)[0]
                        ordered = ordered and previous < key
                        previous = key
                        out.write(line)
        if not ordered:
            lines = temporary.read_bytes().splitlines(keepends=True)
            temporary.write_bytes(b"".join(sorted(lines, key=lambda line: line.split(b" ", 1)[0])))


def _size_of(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder)) if folder.is_dir() else 0

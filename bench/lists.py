"""Lists of VoxCeleb's full size, made-up paths and lengths: seconds and memory of each step that handles them.

python3 bench/lists.py [--quick] [--keep FOLDER]

Steps: data directories and trials of stage 0, validation, splitting, the copies of the recommended plan, the look
whether their audio is still the same (no file is there: a disc's answers come on top), their union with the originals,
the trials read back, and the index that training draws from. Each runs in a process of its own; seconds are wall clock,
CPU seconds those of all processes of the step (what the step takes on a machine that does nothing else), MiB the most
that one process held. No audio and no feature is touched.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"seconds": 60, "mib": 2048}
# utterances, speakers and first speaker of the releases
PARTS = {
    ("VoxCeleb1", "dev"): (148642, 1211, 10001),
    ("VoxCeleb1", "test"): (4874, 40, 11212),
    ("VoxCeleb2", "dev"): (1092009, 5994, 12),
    ("VoxCeleb2", "test"): (36237, 118, 6100),
}
LISTS = {"vox1_O_cleaned": (37611, 4708), "vox1_E_cleaned": (579818, 145160), "vox1_H_cleaned": (550894, 137924)}


def made_up(part, scale):
    """Return the utterances of one part of a release: speakers of unlike sizes, a session of about eight files."""
    from etdnn.data.corpus import Utterance, utterance_id

    count, speakers, first = PARTS[part]
    count, speakers = max(count // scale, 40), max(speakers // scale, 5)
    utterances = []
    for number in range(count):
        speaker = f"id{first + number * number * speakers // (count * count):05d}"
        session, name = f"v{number // 8:09d}-x", f"{number % 8 + 1:05d}"
        path = f"/corpora/{part[0].lower()}/{part[1]}/wav/{speaker}/{session}/{name}.wav"
        utterances.append(Utterance(utterance_id(speaker, session, name), speaker, session, path))
    return sorted(utterances)


def make_lists(folder, scale):
    """Write trial lists in the published form, `1|0 SPEAKER/SESSION/FILE.wav SPEAKER/SESSION/FILE.wav`, and noises."""
    import numpy as np

    for name, (trials, files) in LISTS.items():
        parts = [("VoxCeleb1", "test")] if "_O_" in name else [("VoxCeleb1", "dev"), ("VoxCeleb1", "test")]
        pool = [u for part in parts for u in made_up(part, scale)][: max(files // scale, 60)]
        entries = [f"{u.speaker}/{u.session}/{u.path.rsplit('/', 1)[1]}" for u in pool]
        generator = np.random.default_rng(0)
        left, right = generator.integers(0, len(pool), (2, max(trials // scale, 100)))
        right[::2] = np.minimum(left[::2] + 1, len(pool) - 1)
        same = [int(pool[a].speaker == pool[b].speaker) for a, b in zip(left, right, strict=True)]
        lines = [f"{s} {entries[a]} {entries[b]}\n" for s, a, b in zip(same, left, right, strict=True)]
        (folder / f"{name}.txt").write_text("".join(lines))
    write_noises(folder / "noise")


def write_noises(folder):
    """Write noise and room lists of the sizes that MUSAN and the small and medium rooms have."""
    from etdnn.data.datadir import write_table

    for name, count in (("noise", 930), ("music", 660), ("babble", 426), ("rir", 40000)):
        for part, first in (("train", 0), ("dev", count)):
            table = {f"{name}-{i:06d}": f"/corpora/{name}/{i:06d}.wav" for i in range(first, first + count)}
            write_table(folder / part / f"{name}.scp", table)


def prepare(data, scale):
    """Stage 0 after the audio's headers were read: sets, trials of O, E, H, dev trials, all tables."""
    from etdnn.data.corpus import id_of_path
    from etdnn.data.own import check_trials, write_sets
    from etdnn.data.split import Split
    from etdnn.data.trials import read_trials

    lists = {name: read_trials(data / f"{name}.txt").renamed(id_of_path) for name in LISTS}
    named = {entry for trials in lists.values() for entry in (*trials.enrol, *trials.test)}
    vox1 = [u for part in PARTS if part[0] == "VoxCeleb1" for u in made_up(part, scale) if u.id in named]
    members = {"train": made_up(("VoxCeleb2", "dev"), scale), "dev": made_up(("VoxCeleb2", "test"), scale)}
    members["test"] = sorted(vox1)
    seconds = {u.id: 4 + (number % 997) / 100 for rows in members.values() for number, u in enumerate(rows)}
    split = Split({u.speaker: name for name, rows in members.items() for u in rows})
    for name, trials in lists.items():
        check_trials(trials, name, members, allow_missing=False, say=print)
    sizes = {"targets": 10000, "nontargets": 20000}
    write_sets(data, members, seconds, split, lists, seed=0, say=print, **sizes)


def copies(data, scale):
    """Plan the copies that egs/voxceleb recommends: noise, room, two speeds."""
    from etdnn.features.copies import make_copies
    from etdnn.features.plan import read_plan

    plan = read_plan(ROOT / "egs" / "voxceleb" / "conf" / "augment.yaml")
    make_copies(data / "train", data / "train_copies", plan, data / "noise" / "train", 0)


def pretend_features(data, scale):
    """Write feats.scp, utt2num_frames and frontend.json as stage 1 does."""
    for name in ("train", "train_copies"):
        folder = data / name
        with ExitStack() as files:
            durations = files.enter_context((folder / "utt2dur").open())
            scp, counts = (files.enter_context((folder / file).open("w")) for file in ("feats.scp", "utt2num_frames"))
            for number, line in enumerate(durations):
                key, seconds = line.split()
                scp.write(f"{key} /features/key/{name}/fbank.{number // 20000}.ark:{number % 20000 * 80000}\n")
                counts.write(f"{key} {round(float(seconds) * 100)}\n")
        (folder / "frontend.json").write_text('{"type": "kaldi", "key": "bench"}')


def trials(data, scale):
    """Read every list of test back."""
    from etdnn.data.datadir import DataDir

    test = DataDir(data / "test")
    for name in test.trial_names():
        print(name, len(test.trials(name)))


def sampler(data, scale):
    """Build the index of training and draw batches of two epochs."""
    from etdnn.train.dataset import TrainingSet

    training = TrainingSet(data / "train_all", 0.875)
    for step in (0, 1, training.items // 128 + 1):
        training.draw(0, "largest", step, 128, 200)
    print(f"{len(training.reader.keys)} utterances, {training.items} items, {training.class_count()}")


def steps(data):
    """Return (title, command) in order; a command that is a word is a function of this file, no title: not measured."""
    scripts = ("validate_data_dir", "split_data", "combine_data")
    validate, split, combine = (ROOT / "utils" / f"{name}.sh" for name in scripts)
    train, copied, whole = data / "train", data / "train_copies", data / "train_all"
    return [
        ("", "make_lists"),
        ("stage 0 without audio", "prepare"),
        ("validate_data_dir.sh train", [validate, "--no-feats", train]),
        ("validate_data_dir.sh test, with O, E, H", [validate, "--no-feats", data / "test"]),
        ("split_data.sh train 64", [split, train, "64"]),
        ("split_data.sh --per-utt train 64", [split, "--per-utt", train, "64"]),
        ("make-copies, recommended plan", "copies"),
        ("audio-state train_copies (no file is there)", [sys.executable, "-m", "etdnn", "audio-state", copied]),
        ("", "pretend_features"),
        ("combine_data.sh train + copies", [combine, whole, train, copied]),
        ("validate_data_dir.sh train_all", [validate, whole]),
        ("read O, E, H", "trials"),
        ("index of training, draws", "sampler"),
    ]


def measure(command, log):
    """Run a command; return wall seconds, CPU seconds and the largest memory of a process of it, in MiB."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    start = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed ({process.returncode}): {log.read_text()[-400:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a two-hundredth of the size")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="leave the lists there")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures too")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    scale = 200 if arguments.quick else 1
    if arguments.step:
        globals()[arguments.step](arguments.keep, scale)
        return
    data = Path(tempfile.mkdtemp(prefix="lists")) if arguments.keep is None else arguments.keep
    data.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        print(f"{'step':<44}{'seconds':>9}{'CPU s':>8}{'MiB':>7}")
        for title, command in steps(data):
            if isinstance(command, str):
                quick = ["--quick"] if arguments.quick else []
                command = [sys.executable, __file__, "--step", command, "--keep", data, *quick]
            seconds, cpu, mib = measure(command, data / "step.log")
            if not title:
                continue
            over = [limit for limit, value in (("seconds", seconds), ("mib", mib)) if value > LIMITS[limit]]
            rows.append({"step": title, "seconds": seconds, "cpu": cpu, "mib": mib, "over": over})
            mark = f"  over {', '.join(f'{LIMITS[limit]} {limit}' for limit in over)}" if over else ""
            print(f"{title:<44}{seconds:>9.1f}{cpu:>8.1f}{mib:>7.0f}{mark}", flush=True)
        print(f"{sum(1 for _ in (data / 'train_all' / 'utt2spk').open())} utterances in train_all; limits per step: "
              f"{LIMITS['seconds']} s, {LIMITS['mib']} MiB")  # fmt: skip
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1))
    finally:
        if arguments.keep is None:
            shutil.rmtree(data)


if __name__ == "__main__":
    main()

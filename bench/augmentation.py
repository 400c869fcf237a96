"""Noise from stored copies, mixed in the mel domain, and added to the audio of each crop: crops/s, disc, distance, EER.

python3 bench/augmentation.py --data FOLDER [--work DIR] [--epochs 16] [--seeds 1] [--nj 2] [--ways NAME ...] [--quick]

FOLDER holds realspeech/ (wav, speakers.tsv, trials.txt, trials_cross.txt), musan_like/ (noise, speech) and rirs/
(simulated). All ways draw noise or babble at the same SNRs for 6 in 10 crops. `none`: no noise. `stored`: one noisy
copy of every utterance. `mel`: stored fbanks of the noises, mixed into each crop anew. `waveform`: crops read from the
audio (here OGG, decoded whole for each), noise added anew. `waveform+rir`: the same, but half of the 6 are in a room,
a third of these with noise: another augmentation, not another way to the same.

Distance: mean difference of log power per value to the fbank of the mixed waveforms, over drawn mixtures; beside it
what the noise changes, and the error in the SNR. EER: a small static network trained from the same weights for the
same number of steps, batch norm of each measured on what it was trained on, noise included, whole test utterances.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ |= {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}  # see train_phase.sh

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PLAN = """
copies:
  - {name: noise, mixture: {noise: 2, babble: 1}}
noise: {snr: [0, 15], sources: [1, 1]}
babble: {snr: [10, 20], sources: [3, 5]}
store_noise: true
"""
NOISY = {"noise": 2.0, "babble": 1.0}
WAYS = {
    "none": ("train", {}),
    "stored": ("train_all", {"augmentation": 0.6}),
    "mel": ("train", {"mel_noise": 0.6}),
    "waveform": ("train", {"waveform": NOISY}),
    "waveform+rir": ("train", {"waveform": {**NOISY, "reverb": 2.0, "reverb+noise": 1.0}}),
}
"""Data directory; chance of a stored copy, chance of noise in the mel domain, or mixture of 6 in 10 from audio."""
LISTS = ("main", "cross")


def augmentation(name):
    """Return the settings of a way, as the training and its data take them."""
    from etdnn.features.plan import Additive, MelNoise, Waveform

    way, babble = WAYS[name][1], Additive([10.0, 20.0], [3, 5])
    mixture = way.get("waveform")
    return {
        "augmentation": way.get("augmentation", 0.0),
        "mel_noise": MelNoise(probability=way.get("mel_noise", 0.0), kinds=NOISY, babble=babble),
        "waveform": Waveform(probability=0.6, mixture=mixture, babble=babble, workers=0) if mixture else Waveform(),
    }


def run(words):
    """Run a command of etdnn or of utils; its output counts only when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}:\n{done.stdout}{done.stderr}")


def prepare(source, work, speakers, test_speakers, jobs):
    """Make data directories with features below `work`, unless they are there."""
    data = work / "data"
    if (data / "train_all/feats.scp").is_file():
        return data
    real = source / "realspeech"
    rows = (real / "speakers.tsv").read_text().splitlines()
    kept = [row for row in rows[1:] if "\ttrain\t" in row][:speakers]
    kept += [row for row in rows[1:] if "\ttest\t" in row][:test_speakers]
    (work / "speakers.tsv").write_text("\n".join([rows[0], *kept]) + "\n")
    (work / "plan.yaml").write_text(PLAN)
    (work / "fbank.conf").write_text("--num-mel-bins=80\n")
    words = ["-m", "etdnn", "prepare-own", "--split", work / "speakers.tsv", "--allow-missing", "--dev-speakers", 8]
    for name in ("trials.txt", "trials_cross.txt"):
        words += ["--trials", real / name]
    words += ["--musan", source / "musan_like", "--rirs", source / "rirs", "--nj", jobs]
    run([*words, real / "wav", data])
    words = ["-m", "etdnn", "make-copies", "--plan", work / "plan.yaml", "--noise", data / "noise/train"]
    run([*words, "--noise-set", data / "train_noise", data / "train", data / "train_copies"])
    sets = ["train", "train_copies", "test", "train_noise"]
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(make_features, [data / name for name in sets], [work] * len(sets)))
    run([ROOT / "utils/data_dir/combine_data.py", data / "train_all", data / "train", data / "train_copies"])
    return data


def make_features(directory, work):
    prefix = work / "fbank" / directory.name / "fbank.1"
    run(["-m", "etdnn", "make-fbank", "--config", work / "fbank.conf", directory, prefix])
    run(["-m", "etdnn", "merge-features", "--check", 0, directory, prefix])


def distances(data, number):
    """Return means over drawn mixtures: distance of the mel mix, of CM2, what noise changes, |SNR error| (dB)."""
    import torch

    from etdnn.data.audio import read_audio
    from etdnn.data.datadir import DataDir
    from etdnn.features.augment import add_noise, fit_length
    from etdnn.features.fbank import FbankOptions, compute_fbank
    from etdnn.features.mel_noise import NoiseBank, waveform_weights

    train, noises = DataDir(data / "train"), DataDir(data / "train_noise")
    options, generator = FbankOptions.from_dict(train.frontend), np.random.default_rng(0)
    settings = replace(augmentation("mel")["mel_noise"], probability=1.0)
    bank = NoiseBank(data / "train_noise", settings, train.frontend)
    weights = waveform_weights(options).astype(np.float64)
    keys, rows = sorted(train.wav_scp), []
    mixes = bank.draw(number, 0)
    for index in range(number):
        speech = read_audio(train.wav_scp[keys[generator.integers(len(keys))]])[:48000]
        chosen = [bank.reader.keys[source] for source in mixes.sources[index] if source >= 0]
        sources = [fit_length(read_audio(noises.wav_scp[key]), len(speech), generator) for key in chosen]
        snr = float(mixes.snr[index])
        clean, mixed = compute_fbank(speech, options), compute_fbank(add_noise(speech, sources, snr), options)
        powers = [np.exp(compute_fbank(source, options).astype(np.float64)) for source in sources]
        level = (np.exp(clean.astype(np.float64)) @ weights).mean()
        gains = [level / (power @ weights).mean() * 10 ** (-snr / 10) for power in powers]
        ours = np.log(np.exp(clean.astype(np.float64)) + sum(g * p for g, p in zip(gains, powers, strict=True)))
        for source, power in zip(sources, powers, strict=True):
            true = np.mean(speech.astype(np.float64) ** 2) / max(np.mean(source.astype(np.float64) ** 2), 1e-9)
            rows.append([np.nan, np.nan, np.nan, abs(10 * np.log10(level / (power @ weights).mean() / true))])
        step = np.ptp(mixed) / 65535
        coded = np.round((mixed - mixed.min()) / step) * step + mixed.min()
        rows.append([np.abs(ours - mixed).mean(), np.abs(coded - mixed).mean(), np.abs(clean - mixed).mean(), np.nan])
    torch.set_num_threads(1)
    return np.nanmean(rows, axis=0)


def speeds(data, batches, runs):
    """Return way -> crops/s of 200 frames on one thread (CPU time), medians of runs that take turns."""
    import torch

    from etdnn.train.dataset import TrainingSet

    torch.set_num_threads(1)
    sets = {name: TrainingSet(data / folder, **augmentation(name)) for name, (folder, _) in WAYS.items()}
    rates = {name: [] for name in sets}
    for turn in range(runs + 1):  # the first warms the page cache
        for name, one in sets.items():
            begun = time.process_time()
            for step in range(batches):
                utterances, starts = one.draw(0, "bench", step, 64, 200)
                one.read(utterances, starts, 200, "mean", mixes=one.mixes(0, "bench", step, utterances))
            if turn:
                rates[name].append(64 * batches / (time.process_time() - begun))
    return {name: statistics.median(values) for name, values in rates.items()}


def disc(data):
    """Return way -> bytes of the archives or of the audio that it trains from."""
    from etdnn.data.ark import FeatureReader
    from etdnn.data.datadir import read_table

    def size(name):
        return sum(Path(path).stat().st_size for path in FeatureReader(data / name / "feats.scp").paths)

    def audio(*lists):
        return sum(Path(path).stat().st_size for name in lists for path in read_table(data / name).values())

    train, rooms = size("train"), audio("noise/train/rir.scp")
    heard = audio("train/wav.scp", "noise/train/noise.scp", "noise/train/babble.scp")
    return {"none": train, "stored": train + size("train_copies"), "mel": train + size("train_noise"),
            "waveform": heard, "waveform+rir": heard + rooms}  # fmt: skip


def train_and_test(job):
    """Train one network, return its steps and the EER (%) of each list."""
    data, work, name, epochs, batch, seed = job
    from etdnn.data.datadir import DataDir
    from etdnn.embed.derive import derive_subnet
    from etdnn.embed.dev_set import DevSet
    from etdnn.features.plan import SpecAugment
    from etdnn.model.checkpoint import read_subnet
    from etdnn.model.space import SearchSpace
    from etdnn.scoring.metrics import eer
    from etdnn.train.phases import PhaseJob, train_phase
    from etdnn.train.settings import Optimiser, Phase, Schedule, TrainSettings

    folder = WAYS[name][0]
    schedule = Schedule("cosine", max=3e-3, min=1e-5, warmup=epochs / 20)
    phase = Phase("largest", epochs, 2.0, schedule=schedule, margin_ramp=[epochs / 10, epochs / 2])
    settings = TrainSettings(
        [phase], batch, spec_augment=SpecAugment(8, 10), **augmentation(name),
        optimiser=Optimiser("adamw", 0.05, decay_all=False, clip=5.0), checkpoint_epochs=epochs,
    )  # fmt: skip
    space = SearchSpace("bench", depths=(2,), widths=(64,), kernels=(3,), cats=(192,))
    out = work / f"{name}-{seed}-{epochs:g}"
    with (work / f"{out.name}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        supernet = train_phase(settings, "largest", space, PhaseJob(data / folder, out, None, seed, "cpu"))
    derive_subnet(
        supernet, "largest", data / folder, out / "model.safetensors", seed=0, crops=2000, frames=200, device="cpu"
    )
    net, _ = read_subnet(out / "model.safetensors")
    test = DevSet.load(DataDir(data / "test"), "mean", frames=0, crops=1, lists=LISTS)
    steps = json.loads((out / "train.jsonl").read_text().splitlines()[-1])["step"]
    rates = []
    for part, scores in test.scores(net.eval()).items():
        target = test.trials[part].target
        rates.append(100 * eer(scores[target], scores[~target]))
    return steps, rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with realspeech/ and musan_like/")
    parser.add_argument("--work", type=Path, help="folder for features and models, used again [a temporary one]")
    parser.add_argument("--epochs", type=float, default=16, help="passes over the utterances [16]")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each way [1]")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="only these [all]")
    parser.add_argument("--nj", type=int, default=2, help="processes [2]")
    parser.add_argument("--quick", action="store_true", help="few speakers, few steps: shows that it runs")
    args = parser.parse_args()
    speakers, tests, mixtures, batches, batch = (14, 4, 6, 2, 16) if args.quick else (1000, 1000, 300, 20, 64)
    epochs, runs = (0.5, 1) if args.quick else (args.epochs, 5)
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        data = prepare(args.data, work, speakers, tests, args.nj)
        mel, coded, change, snr = distances(data, mixtures)
        print(f"{mixtures} mixtures; noise changes the log power by {change:.2f} a value on average")
        print(f"distance to the fbank of the mixed waveforms: stored copy in CM2 {coded:.5f}, mel domain {mel:.3f}")
        print(f"SNR of the mel domain against that of the waveforms: {snr:.2f} dB off on average")
        rates, sizes = speeds(data, batches, runs), disc(data)
        jobs = [(data, work, name, epochs, batch, seed) for seed in range(args.seeds) for name in args.ways]
        with ProcessPoolExecutor(args.nj, multiprocessing.get_context("spawn")) as pool:
            results = dict(zip([(job[2], job[5]) for job in jobs], pool.map(train_and_test, jobs), strict=True))
        print(f"{'way':13}{'crops/s':>9}{'disc MB':>9}{'steps':>7}" + "".join(f"{f'EER {n} %':>22}" for n in LISTS))
        for name in args.ways:
            mine = [results[name, seed] for seed in range(args.seeds)]
            texts = [" ".join(f"{eers[place]:.2f}" for _, eers in mine) for place in range(len(LISTS))]
            line = f"{name:13}{rates[name]:9.0f}{sizes[name] / 1e6:9.1f}{mine[0][0]:7d}"
            print(line + "".join(f"{text:>22}" for text in texts))


if __name__ == "__main__":
    main()

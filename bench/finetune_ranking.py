"""Does fine-tuning keep the ranking of subnets? Kendall tau between their EER on dev before and after it.

    python3 bench/finetune_ranking.py --expdir egs/mini/exp/mini --data egs/mini/data \
        --train-config egs/mini/conf/train.yaml [--epochs 2] [--share 0 1] [--out DIR]

Subnets spread over MACs (of the share of the largest network's that is asked for) are derived as in stage 5, measured
as in stage 4, fine-tuned as section `finetune` of the training configuration says but for --epochs and --crop, and
measured again on the same calibration crops and dev trials. Two processes; an --out that is kept resumes.
"""

import argparse
import dataclasses
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import torch

from etdnn.embed.batchnorm import calibration_data, reestimate
from etdnn.embed.derive import derive_subnet
from etdnn.model.checkpoint import load_supernet, read_subnet
from etdnn.model.cost import arch_macs
from etdnn.search.comparison import mean_eer
from etdnn.search.evaluate import EvaluationData
from etdnn.search.population import ArchRows, sample_stratified
from etdnn.search.predictor import kendall_tau
from etdnn.search.settings import Measurement
from etdnn.seeding import numpy_generator
from etdnn.train.finetune import FineTuneJob, finetune
from etdnn.train.settings import load_train_settings

MEASUREMENT = Measurement(calibration_crops=256, dev_frames=300)


def fine_tuned(options: argparse.Namespace, folder: Path, arch: str) -> tuple[Path, Path, float]:
    """Derive and fine-tune one subnet; return both model files and the seconds it took."""
    torch.set_num_threads(1)
    start, calibration = time.perf_counter(), calibration_data(options.data)
    before, after = folder / arch / "derived.safetensors", folder / arch / "model.safetensors"
    if not before.is_file():
        supernet = options.expdir / "supernet" / "supernet.safetensors"
        derive_subnet(supernet, arch, calibration, before, seed=0, crops=1000, frames=200, device="cpu")
    if not after.is_file():
        settings = load_train_settings(options.train_config)
        tuning = dataclasses.replace(settings.finetune, epochs=options.epochs, crop=options.crop)
        settings = dataclasses.replace(settings, finetune=tuning)
        head = options.expdir / "supernet" / "head.safetensors"
        job = FineTuneJob(before, head, options.data / "train_all", calibration, after, seed=0, device="cpu")
        with (folder / arch / "log").open("w") as log, redirect_stdout(log), redirect_stderr(log):
            finetune(settings, job)
    return before, after, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expdir", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--train-config", required=True, type=Path)
    parser.add_argument("--archs", type=int, default=12)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--crop", type=float, default=2.0, help="seconds per crop")
    parser.add_argument("--share", type=float, nargs=2, default=[0.0, 1.0], help="least and most MACs of the largest's")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where models are kept (default: nowhere)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    supernet = load_supernet(options.expdir / "supernet" / "supernet.safetensors")
    least, most = (share * arch_macs(supernet.space.largest) for share in options.share)
    rows = sample_stratified(supernet.space, 40 * options.archs, numpy_generator(0, "fine-tuning"), limit=most)
    archs = [arch for arch in ArchRows(rows) if arch_macs(arch) >= least][: options.archs]
    data = EvaluationData.load(options.data, supernet, MEASUREMENT, seed=0)

    def error(path: Path) -> float:
        net, _ = read_subnet(path)
        return mean_eer(data.dev_set.scores(reestimate(net, data.batches)), data.trials)

    print(f"{len(archs)} subnets, {options.epochs:g} epochs of {options.crop:g} s crops; mean EER on dev, %")
    print(f"{'before':>8} {'after':>8} {'s':>6}  arch", flush=True)
    errors = []
    with tempfile.TemporaryDirectory() as scratch:
        work = partial(fine_tuned, options, options.out or Path(scratch))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            for arch, (before, after, seconds) in zip(archs, pool.map(work, map(str, archs)), strict=True):
                errors.append((error(before), error(after)))
                print("{:8.2f} {:8.2f}".format(*errors[-1]), f"{seconds:6.0f}  {arch}", flush=True)
    before, after = np.array(errors).T
    tau = kendall_tau(before, after)
    print(f"Kendall tau {tau:.3f}; mean {before.mean():.2f} % before, {after.mean():.2f} % after")


if __name__ == "__main__":
    main()

"""How little measuring keeps the ranking: Kendall tau of cheap protocols against a thorough one, on a trained net.

    python3 bench/ranking.py --supernet egs/mini/exp/mini/supernet/supernet.safetensors --data egs/mini/data

The thorough protocol: batch norm from 2,048 crops of another seed, four dev crops of 300 frames. The cheap ones are
what their lines say, otherwise 256 crops and 1 x 300. For each: the tau of the mean EER and of the smoother EER of two
Gaussians (what the predictor may learn instead), both against the thorough mean EER, and CPU seconds per subnet.
"""

import argparse
import time
from dataclasses import replace

import torch

from etdnn.model.checkpoint import load_supernet
from etdnn.search.evaluate import EvaluationData, Evaluator
from etdnn.search.population import ArchRows, sample_stratified
from etdnn.search.predictor import kendall_tau
from etdnn.search.settings import Measurement
from etdnn.seeding import numpy_generator

THOROUGH = Measurement(calibration_crops=2048, calibration_frames=200, dev_crops=4, dev_frames=300)
USUAL = Measurement(calibration_crops=256, calibration_frames=200, dev_crops=1, dev_frames=300)
VARIANTS = {
    **{
        f"{crops} calibration crops of 200": replace(USUAL, calibration_crops=crops)
        for crops in (32, 64, 128, 256, 512)
    },
    "192 calibration crops of 150, dev 1 x 200": Measurement(
        calibration_crops=192, calibration_frames=150, dev_crops=1, dev_frames=200
    ),
    "dev 1 x 200": replace(USUAL, dev_frames=200),
    "dev 2 x 300": replace(USUAL, dev_crops=2),
    "half of the dev speakers": replace(USUAL, dev_speakers=2),
}


def measure(supernet, data, how: Measurement, archs, seed: int):
    """Return objectives, smooth values and seconds per subnet."""
    evaluator = Evaluator(supernet, EvaluationData.load(data, supernet, how, seed=seed))
    start = time.process_time()
    rows = [evaluator.measure(arch)[0] for arch in archs]
    seconds = (time.process_time() - start) / len(rows)
    return [row.objective for row in rows], [row.smooth for row in rows], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--archs", type=int, default=30)
    parser.add_argument("--share", type=float, default=1.0, help="only subnets up to this share of the largest's MACs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    supernet = load_supernet(options.supernet)
    from etdnn.model.cost import arch_macs

    limit = options.share * arch_macs(supernet.space.largest)
    archs = list(ArchRows(sample_stratified(supernet.space, options.archs, numpy_generator(0, "bench"), limit=limit)))
    truth, smooth, full = measure(supernet, options.data, THOROUGH, archs, seed=1)
    speakers = int(EvaluationData.load(options.data, supernet, USUAL, seed=0).counts.split()[0])
    print(f"{len(archs)} subnets, mean EER {min(truth):.2f} to {max(truth):.2f} %, {speakers} dev speakers")
    print(f"{'protocol':<42} {'tau EER':>8} {'smooth':>8} {'s each':>8}")
    print(f"{'thorough':<42} {1:8.3f} {kendall_tau(smooth, truth):8.3f} {full:8.2f}", flush=True)
    for name, how in VARIANTS.items():
        if how.dev_speakers:  # a divisor here
            how = replace(how, dev_speakers=speakers // how.dev_speakers)
        objective, smooth, seconds = measure(supernet, options.data, how, archs, seed=0)
        print(f"{name:<42} {kendall_tau(objective, truth):8.3f} {kendall_tau(smooth, truth):8.3f} {seconds:8.2f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""Fine-tune a derived subnet (stage 5, optional); started again, it goes on where it stopped."""

from pathlib import Path


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--config", required=True, help="training configuration with a 'finetune' section")
    parser.add_argument("--model", required=True, type=Path, help="derived subnet (model file)")
    parser.add_argument("--head", required=True, type=Path, help="head.safetensors of the supernet's last phase")
    parser.add_argument("--data", required=True, type=Path, help="training data with copies (data/train_all)")
    parser.add_argument("--calibration", required=True, type=Path, help="training data for batch norm (data/train)")
    parser.add_argument("--out", required=True, type=Path, help="model file to make")
    parser.add_argument("--teacher", type=Path, help="supernet.safetensors of that phase, for finetune.distillation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="threads per process; with more than 1 CPU runs differ")
    parser.add_argument("--stage-to", type=Path, help="copy the features to this folder of a local disc, train from it")
    parser.add_argument("--override", action="store_true", help="resume although configuration, data or ranks changed")
    parser.add_argument("--force", action="store_true", help="discard what is there and start anew")


def run(args):
    """Run the command."""
    from etdnn.train.finetune import FineTuneJob, finetune
    from etdnn.train.settings import load_train_settings

    settings = load_train_settings(args.config)
    job = FineTuneJob(
        args.model,
        args.head,
        args.data,
        args.calibration,
        args.out,
        args.seed,
        args.device,
        args.threads,
        args.override,
        args.stage_to,
        args.teacher,
        args.force,
    )
    print(finetune(settings, job))

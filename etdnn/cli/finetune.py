"""Fine-tune a derived subnet (stage 5, optional); started again, it goes on where it stopped."""

from pathlib import Path

from etdnn.cli._training import add_training_arguments


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--config", required=True, help="training configuration with a 'finetune' section")
    parser.add_argument("--model", required=True, type=Path, help="derived subnet (model file)")
    parser.add_argument("--head", required=True, type=Path, help="head.safetensors of the supernet's last phase")
    parser.add_argument("--data", required=True, type=Path, help="training data with copies (data/train_all)")
    parser.add_argument("--calibration", required=True, type=Path, help="training data for batch norm (data/train)")
    parser.add_argument("--out", required=True, type=Path, help="model file to make")
    parser.add_argument("--teacher", type=Path, help="supernet.safetensors of that phase, for finetune.distillation")
    add_training_arguments(parser)


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
        args.stop_after,
    )
    print(finetune(settings, job))

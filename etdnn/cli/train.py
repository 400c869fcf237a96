"""Train one phase of the supernet (stages 2 and 3); started again, it goes on where it stopped.

One process: etdnn train ...
Several: python3 -m etdnn.train.launch --standalone --nproc-per-node 2 -m etdnn train ...
"""

from pathlib import Path

from etdnn.cli._training import add_training_arguments


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("--config", required=True, help="training configuration (conf/train.yaml)")
    parser.add_argument("--space", required=True, help="search space: a YAML file, or paper_coarse, paper_fine")
    parser.add_argument("--phase", required=True, help="name of the phase in the configuration")
    parser.add_argument("--data", required=True, type=Path, help="data directory with features (data/train_all)")
    parser.add_argument("--out", required=True, type=Path, help="folder of this phase (exp/TAG/PHASE)")
    parser.add_argument("--init", type=Path, help="folder of the phase before; without it, weights are drawn")
    parser.add_argument("--teacher-scp", type=Path, help="embeddings of another model, for distillation.external")
    add_training_arguments(parser)


def run(args):
    """Run the command."""
    from etdnn.train.phases import PhaseJob, train_phase
    from etdnn.train.settings import load_train_settings

    settings = load_train_settings(args.config)
    job = PhaseJob(
        args.data,
        args.out,
        args.init,
        args.seed,
        args.device,
        args.threads,
        args.override,
        args.force,
        args.stage_to,
        args.teacher_scp,
        args.stop_after,
    )
    print(train_phase(settings, args.phase, load_space(args.space), job))


def load_space(text: str):
    """Return the space of a YAML file or of a published name."""
    from etdnn.model.space import SearchSpace

    return SearchSpace.load(text) if text.endswith((".yaml", ".yml")) else SearchSpace.named(text)

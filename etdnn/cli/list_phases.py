"""Print the names of the phases of a training configuration, in order."""


def add_arguments(parser):
    """Declare the options."""
    parser.add_argument("config", help="training configuration (conf/train.yaml)")


def run(args):
    """Run the command."""
    from etdnn.train.settings import load_train_settings

    for phase in load_train_settings(args.config).phases:
        print(phase.name)

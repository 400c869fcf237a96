"""Print a hash of sizes and times of the audio of a data directory, so that changed audio shows; its content is unread.

etdnn audio-state data/train
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", type=Path, help="data directory")


def run(args: Namespace) -> int:
    """Print the hash."""
    from etdnn.data.audio_state import audio_state

    print(audio_state(args.data))
    return 0

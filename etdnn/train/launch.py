"""torchrun with an end that tells a stopped training from a failed one: utils/torchrun.sh starts ranks through it."""

import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from etdnn.train.loop import INTERRUPTED


def main() -> int:
    """Start the ranks as torchrun's words on the command line say; return 0, or `INTERRUPTED` when they were stopped.

    Whoever sent the signal, to this process (which passes it on and waits) or to the ranks themselves. Other ends raise
    torchrun's ChildFailedError, which says how each rank ended.
    """
    try:
        run.main()
    except SignalException:
        return INTERRUPTED
    except ChildFailedError as error:
        if {failure.exitcode for failure in error.failures.values()} != {INTERRUPTED}:
            raise
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""torchrun with the end of its ranks: utils/torchrun.sh starts them through it."""

import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from etdnn.train.loop import INTERRUPTED


def main() -> int:
    """Start the ranks as torchrun's words on the command line say; return how they ended, in the shell's form.

    `INTERRUPTED` when they were stopped, whoever had the signal: this process, which passes it on and waits, or the
    ranks themselves. torchrun's own report of a failure is a traceback; what is wrong, the ranks have said.
    """
    try:
        run.main()
    except SignalException:
        return INTERRUPTED
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        code = next((code for code in codes if code != INTERRUPTED), INTERRUPTED)
        return 128 - code if code < 0 else code
    return 0


if __name__ == "__main__":
    sys.exit(main())

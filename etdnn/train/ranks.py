"""One process or several: ranks, their gradients in one flat buffer, one all-reduce per step."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from etdnn.embed.extract import pick_device
from etdnn.errors import UserError

PR_SET_PDEATHSIG = 1


class Ranks:
    """The processes of one training: `rank` of `count`; torchrun's environment decides, without it there is one.

    `device` is a GPU of this rank's own where `device` asks for one; UserError when there is none for it.
    """

    def __init__(self, device: str):
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
        if self.count > 1:
            _end_with_launcher()
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        self._patient: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all ranks have come here."""
        if self.count > 1:
            dist.barrier()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Let the ranks take unlike times for a block, up to a day, and leave it together."""
        if self.count > 1 and self._patient is None:
            self._patient = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        yield
        if self._patient is not None:
            dist.barrier(self._patient)

    def close(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()


def _end_with_launcher() -> None:
    """Have Linux kill this rank when torchrun is killed outright: orphans would train on beside a resumed run."""
    launcher = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it ended before the request
        os.kill(os.getpid(), signal.SIGKILL)


def _device(name: str, local_rank: int) -> torch.device:
    """Return the device of `auto`, `cpu` or `cuda`; UserError when there is no GPU, or fewer of them than ranks."""
    device = pick_device(name)
    if device.type != "cuda":
        return device
    if local_rank >= (count := torch.cuda.device_count()):
        raise UserError(
            f"rank {local_rank} of this machine has no GPU: PyTorch sees {count}, and each rank takes one; ask for "
            f"--num-ranks {count}, or use --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


class FlatGradients:
    """All gradients of `parameters` in one buffer, with room for a few numbers that the ranks agree on.

    Parameters that a step did not use keep a gradient of zero, so that every parameter is stepped at every step and the
    number of ranks changes nothing.
    """

    EXTRAS = 4

    def __init__(self, parameters: Iterable[nn.Parameter], device: torch.device):
        self.parameters = list(parameters)
        size = sum(parameter.numel() for parameter in self.parameters)
        self.buffer = torch.zeros(size + self.EXTRAS, device=device)
        self.gradients, self.extras = self.buffer[:size], self.buffer[size:]
        begin = 0
        for parameter in self.parameters:
            end = begin + parameter.numel()
            parameter.grad = self.gradients[begin:end].view_as(parameter)
            begin = end

    def zero(self) -> None:
        """Set all gradients and extras to zero."""
        self.buffer.zero_()

    def mean_over(self, ranks: Ranks) -> Tensor:
        """Average buffer over the ranks; return the extras."""
        if ranks.count > 1:
            dist.all_reduce(self.buffer)
            self.buffer /= ranks.count
        return self.extras

    def clip(self, largest: float) -> None:
        """Scale the gradients down to a norm of `largest`; 0 does nothing."""
        if largest > 0:
            norm = self.gradients.norm()
            self.gradients *= (largest / (norm + 1e-6)).clamp(max=1.0)

"""A subnet is a function of (supernet weights, arch).

The supernet is the parameters of its largest network plus, per convolution, small matrices that turn a cropped kernel
into a narrower one. `etdnn.model.slices` maps them to the state of `Tdnn(arch)`, differentiably. There is no second
network. Source: reference/efficienttdnn.md, section 3.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from etdnn.errors import UsageError
from etdnn.model.arch import RES2_SCALE, Arch
from etdnn.model.slices import Weights, elastic_convolutions, kernel_steps, matrix_name, subnet_weights
from etdnn.model.space import SearchSpace
from etdnn.model.tdnn import Tdnn


class Supernet(nn.Module):
    """The weights of every subnet of `space`; slice them with `forward(x, arch)` or `derive(arch)`.

    `network` holds the largest network, `kernels` the matrices: `stem_to3` is multiplied, 3 x 3, from the right onto
    the centre crop of the stem's next wider kernel; they begin as identities. `gradients_in_place` is for training
    loops that keep the `.grad`s of all parameters (see `etdnn.model.slices.take`).
    """

    def __init__(self, space: SearchSpace):
        super().__init__()
        self.space = space
        self.metadata: dict = {}
        self.hash = ""
        self.network = Tdnn(space.largest, space.in_feats, space.embedding)
        self.kernels = nn.ParameterDict()
        self.gradients_in_place = False
        for name, largest in elastic_convolutions(space.largest):
            for size in kernel_steps(largest):
                self.kernels[matrix_name(name, size)] = nn.Parameter(torch.eye(size))
        self._skeletons: dict[tuple[Arch, bool], Tdnn] = {}
        self._places = [
            (f"{prefix}.{name}" if prefix else name, tensors, name)
            for prefix, module in self.network.named_modules()
            for tensors in (module._parameters, module._buffers)
            for name in tensors
        ]

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        """(batch, in_feats, frames) to (batch, embedding) through the subnet; gradients arrive in the supernet.

        In training mode batch statistics are used and no others exist for the step: the stored ones stay as they are.
        """
        weights = self.weights(arch, statistics=not self.training)
        return functional_call(self._skeleton(arch), weights, (x,), strict=True)

    def weights(self, arch: Arch, *, statistics: bool = True) -> Weights:
        """Return the state of `Tdnn(arch)` as differentiable slices; without `statistics` no batch-norm buffers."""
        if not self.space.holds(arch):
            raise UsageError(f"arch {arch} does not fit in the supernet, whose largest network is {self.space.largest}")
        # walking the modules anew would take as long as the slicing
        state = {name: tensors[attribute] for name, tensors, attribute in self._places}
        kernels = dict(self.kernels.items())
        return subnet_weights(
            state, kernels, self.space.largest, arch, statistics=statistics, in_place=self.gradients_in_place
        )

    def derive(self, arch: Arch | str) -> Tdnn:
        """Return the static network of `arch` in eval mode with exact copies of its weights, marked uncalibrated."""
        arch = Arch.parse(arch) if isinstance(arch, str) else arch
        with torch.device("meta"):
            net = Tdnn(arch, self.space.in_feats, self.space.embedding)
        with torch.no_grad():
            net.load_state_dict({name: part.clone() for name, part in self.weights(arch).items()}, assign=True)
        net.calibrated = False
        return net.eval()

    def _skeleton(self, arch: Arch) -> Tdnn:
        """Return a weightless network that does what `Tdnn(arch)` does once it is given the weights of `arch`.

        Widths are in the weights alone, so one network per depth and kernels serves all: a new one for every arch drawn
        would take longer than slicing it. In training mode its batch norms have no statistics to write to.
        """
        narrow = Arch(arch.depth, (RES2_SCALE,) * (arch.depth + 1), arch.kernels, RES2_SCALE)
        key = (narrow, self.training)
        if key not in self._skeletons:
            while len(self._skeletons) >= 1024:
                self._skeletons.pop(next(iter(self._skeletons)))
            with torch.device("meta"):
                skeleton = Tdnn(narrow, self.space.in_feats, self.space.embedding).train(self.training)
            if self.training:
                _forget_statistics(skeleton)
            self._skeletons[key] = skeleton
        return self._skeletons[key]


def _forget_statistics(net: Tdnn) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None

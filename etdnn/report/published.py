"""What the authors published of their three named subnets on VoxCeleb1; not measured here, and marked so when shown."""

from etdnn.deploy.published_results import PUBLISHED
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.budget import Budget
from etdnn.model.cost import arch_macs

_NEAR = 0.97


def published_models(trials: str, backend: str) -> dict[str, tuple[int, float]]:
    """Return name -> (multiply-accumulates of 3 s, EER in percent) of the subnets published on a trial list."""
    return {
        one.model.capitalize(): (arch_macs(Arch.parse(one.arch)), one.figures[backend][0])
        for one in PUBLISHED
        if one.trials == trials and backend in one.figures
    }


def published_eer(budget: str, trials: str, backend: str) -> str:
    """Return `2.20 (Small)` for the published subnet that a MACs budget was named after, '' where there is none."""
    try:
        limit = Budget.parse(budget).limit
    except UserError:  # `largest`, or a budget of another kind
        return ""
    for name, (macs, eer) in published_models(trials, backend).items():
        if _NEAR * limit < macs <= limit:
            return f"{eer:.2f} ({name})"
    return ""

"""What the authors published of their three named subnets on VoxCeleb1; not measured here, and marked so when shown."""

from etdnn.errors import UserError
from etdnn.model.budget import Budget

MACS = {"Small": 204072768, "Mobile": 570984384, "Base": 1445211648}
"""Multiply-accumulates of 3 s, by name (TASLP 2022; efficienttdnn.md, section 7.1)."""
EER = {
    ("vox1_o", "Small"): {"cosine": 2.33, "asnorm": 2.20},
    ("vox1_o", "Mobile"): {"cosine": 1.61, "asnorm": 1.41},
    ("vox1_o", "Base"): {"cosine": 1.14, "asnorm": 0.94},
    ("vox1_e", "Base"): {"cosine": 1.31, "asnorm": 1.20},
    ("vox1_h", "Base"): {"cosine": 2.41, "asnorm": 2.18},
}
"""EER in percent by list (its first letters here), subnet and back-end (efficienttdnn.md, sections 7.1 and 7.2)."""
_NEAR = 0.97


def published_eer(budget: str, trials: str, backend: str) -> str:
    """Return `2.20 (Small)` for the published subnet that a MACs budget was named after, '' where there is none."""
    try:
        limit = Budget.parse(budget).limit
    except UserError:  # `largest`, or a budget of another kind
        return ""
    for (listed, name), figures in EER.items():
        if trials.lower().startswith(listed) and _NEAR * limit < MACS[name] <= limit and backend in figures:
            return f"{figures[backend]:.2f} ({name})"
    return ""

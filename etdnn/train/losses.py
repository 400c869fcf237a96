"""Classification heads on the sphere: AAM and AM softmax, with sub-centres and inter-topk, one class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.train.settings import Loss


class MarginHead(nn.Module):
    """Class directions and the margin loss on cosines to them.

    Sources: AAM (ArcFace), AM (CosFace), sub-centre ArcFace, inter-topk of Zhao et al. 2021; constants:
    reference/efficienttdnn.md, 4.2. The margin is an argument because it is scheduled.
    """

    def __init__(self, embedding: int, classes: int, settings: Loss):
        super().__init__()
        self.settings = settings
        self.weight = nn.Parameter(torch.empty(classes * settings.subcentres, embedding))

    def reset(self, generator: torch.Generator) -> None:
        """Draw the directions anew (Xavier normal, as published)."""
        nn.init.xavier_normal_(self.weight, generator=generator)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """(batch, embedding) to cosines (batch, classes); of sub-centres the nearest counts; in fp32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))
        if self.settings.subcentres > 1:
            cosines = cosines.unflatten(1, (-1, self.settings.subcentres)).amax(dim=2)
        return cosines

    def logits(self, cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
        """Return scaled cosines with `margin` against the target class (and inter-topk against the nearest others)."""
        target = cosines.gather(1, labels[:, None])
        if self.settings.kind == "am":
            moved = target - margin
        else:
            sine = (1 - target * target).clamp(min=1e-9).sqrt()
            cos_m, sin_m = torch.cos(torch.tensor(margin)).item(), torch.sin(torch.tensor(margin)).item()
            # beyond pi - margin the angle would wrap round; there the loss goes on as a straight line
            moved = torch.where(target > -cos_m, target * cos_m - sine * sin_m, target - sin_m * margin)
        result = cosines
        if self.settings.topk and margin > 0:
            others = cosines.detach().scatter(1, labels[:, None], -2.0)
            nearest = others.topk(min(self.settings.topk, others.shape[1] - 1), dim=1).indices
            result = result.scatter_add(
                1, nearest, torch.full_like(nearest, self.settings.topk_margin, dtype=cosines.dtype)
            )
        return result.scatter(1, labels[:, None], moved) * self.settings.scale

    def forward(self, cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
        """Return the mean cross-entropy of `cosines` (batch, classes) for `labels` (batch)."""
        return F.cross_entropy(self.logits(cosines, labels, margin), labels)


def distillation(
    student_cosines: Tensor, teacher_cosines: Tensor, student: Tensor, teacher: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return (divergence of class posteriors from margin-free cosines, 1 - cosine of embeddings); teacher detached."""
    target = (teacher_cosines.detach() * scale).softmax(dim=1)
    posteriors = (student_cosines * scale).log_softmax(dim=1)
    divergence = F.kl_div(posteriors, target, reduction="batchmean")
    return divergence, (1 - F.cosine_similarity(student.float(), teacher.detach().float())).mean()

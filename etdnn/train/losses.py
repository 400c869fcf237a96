"""Classification heads on the sphere: AAM and AM softmax, with sub-centres and inter-topk, one class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.train.settings import Loss


class MarginHead(nn.Module):
    """Class directions and the margin loss on cosines to them.

    Sources: AAM (ArcFace), AM (CosFace), sub-centre ArcFace, inter-topk of Zhao et al. 2021 (arXiv 2110.05042), which
    with AAM narrows the angle and grows with the margin as in WeSpeaker; constants: reference/efficienttdnn.md, 4.2.
    The margin is an argument because it is scheduled.
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
        """Return scaled cosines with `margin` against the target class (and inter-topk for the nearest others).

        The penalty of inter-topk is `topk_margin` at the full margin of the settings, less in proportion before.
        """
        result = cosines
        if self.settings.topk and margin > 0:
            others = cosines.detach().scatter(1, labels[:, None], -2.0)
            nearest = others.topk(min(self.settings.topk, others.shape[1] - 1), dim=1).indices
            penalty = self.settings.topk_margin * margin / self.settings.margin
            result = result.scatter(1, nearest, self._moved(cosines.gather(1, nearest), -penalty))
        target = self._moved(cosines.gather(1, labels[:, None]), margin)
        return result.scatter(1, labels[:, None], target) * self.settings.scale

    def _moved(self, cosines: Tensor, margin: float) -> Tensor:
        """Return the cosines of angles wider by `margin` (`aam`; narrower below 0), or cosines less `margin` (`am`)."""
        if self.settings.kind == "am":
            return cosines - margin
        sine = (1 - cosines * cosines).clamp(min=1e-9).sqrt()
        cos_m, sin_m = torch.cos(torch.tensor(margin)).item(), torch.sin(torch.tensor(margin)).item()
        # beyond pi - margin (before -margin) the angle would wrap round; there the loss goes on as a straight line
        inside = cosines > -cos_m if margin >= 0 else cosines < cos_m
        return torch.where(inside, cosines * cos_m - sine * sin_m, cosines - abs(sin_m) * margin)

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

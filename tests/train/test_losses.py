import math

import pytest
import torch

from etdnn.train.losses import MarginHead, distillation
from etdnn.train.settings import Loss


def head(**options):
    result = MarginHead(6, 5, Loss(**options))
    result.reset(torch.Generator().manual_seed(1))
    return result


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(7, 6, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0, 1])


def test_aam_adds_the_margin_to_the_angle(batch):
    embeddings, labels = batch
    module = head(kind="aam", margin=0.2, scale=30)
    cosines = module.cosines(embeddings)
    logits = module.logits(cosines, labels, 0.2) / 30
    for row, label in enumerate(labels):
        angle = math.acos(cosines[row, label].item())
        expected = math.cos(angle + 0.2) if angle + 0.2 < math.pi else cosines[row, label].item() - 0.2 * math.sin(0.2)
        assert logits[row, label].item() == pytest.approx(expected, abs=1e-5)
        others = [c for c in range(5) if c != label]
        assert torch.equal(logits[row, others] * 30, cosines[row, others] * 30)


def test_am_takes_the_margin_from_the_cosine(batch):
    embeddings, labels = batch
    module = head(kind="am", margin=0.3, scale=1)
    cosines = module.cosines(embeddings)
    difference = cosines - module.logits(cosines, labels, 0.3)
    assert torch.allclose(difference, torch.nn.functional.one_hot(labels, 5) * 0.3, atol=1e-6)


def test_without_margin_both_are_softmax_of_scaled_cosines(batch):
    embeddings, labels = batch
    for kind in ("aam", "am"):
        module = head(kind=kind, scale=10, topk=2)
        cosines = module.cosines(embeddings)
        expected = torch.nn.functional.cross_entropy(cosines * 10, labels)
        assert module(cosines, labels, 0.0).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["am", "aam"])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_inter_topk_pushes_the_hardest_others_by_its_share_of_the_margin(batch, kind, share):
    embeddings, labels = batch
    module = head(kind=kind, margin=0.2, scale=1, topk=2, topk_margin=0.06)
    cosines = module.cosines(embeddings)
    logits = module.logits(cosines, labels, 0.2 * share)
    for row, label in enumerate(labels):
        others = [c for c in range(5) if c != label]
        hardest = sorted(others, key=lambda c, row=row: -cosines[row, c].item())[:2]
        for other in others:
            expected = cosine = cosines[row, other].item()
            if other in hardest:
                expected = cosine + 0.06 * share if kind == "am" else math.cos(math.acos(cosine) - 0.06 * share)
            assert logits[row, other].item() == pytest.approx(expected, abs=1e-5)


def test_the_pushed_cosine_still_rises_where_the_angle_is_smaller_than_the_penalty():
    module = head(kind="aam", margin=0.2, scale=1, topk=1, topk_margin=0.3)
    angles = torch.linspace(0, 0.6, 61)
    cosines = torch.stack([torch.zeros(61), angles.cos()], dim=1)
    pushed = module.logits(cosines, torch.zeros(61, dtype=torch.long), 0.2)[:, 1]
    assert (pushed > cosines[:, 1]).all() and (pushed.diff() < 0).all()


def test_of_subcentres_the_nearest_counts(batch):
    module = head(subcentres=3)
    cosines = module.cosines(batch[0])
    flat = torch.nn.functional.linear(
        torch.nn.functional.normalize(batch[0]), torch.nn.functional.normalize(module.weight)
    )
    assert cosines.shape == (7, 5)
    assert torch.allclose(cosines, flat.view(7, 5, 3).max(2).values)


def test_distillation_is_zero_for_equals_and_leaves_the_teacher_alone(batch):
    embeddings, _ = batch
    teacher = embeddings.clone().requires_grad_()
    module = head()
    cosines = module.cosines(embeddings)
    divergence, distance = distillation(cosines, cosines, embeddings, embeddings, 30.0)
    assert divergence.item() == pytest.approx(0, abs=1e-5) and distance.item() == pytest.approx(0, abs=1e-5)
    student = (embeddings + 1).requires_grad_()
    losses = distillation(module.cosines(student), module.cosines(teacher), student, teacher, 30.0)
    sum(losses).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0

"""Every training configuration of egs/ loads, its phases fit its space, and VoxCeleb's lengths are the stated ones."""

import pytest

from etdnn.errors import UserError
from etdnn.features.fbank import read_fbank_conf
from etdnn.features.plan import SpecAugment, read_plan
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
from etdnn.train.archs import drawn_archs
from etdnn.train.optimiser import rate_factor
from etdnn.train.schedule import count_steps, learning_rate, margin
from etdnn.train.settings import Draw, Loss, Optimiser, Schedule, load_train_settings
from tests.conftest import REPOSITORY

EGS = REPOSITORY / "egs"
CONFIGURATIONS = sorted(EGS.glob("*/conf/train*.yaml"))
UTTERANCES = 1_092_009
"""Of VoxCeleb2 dev, 5,994 speakers."""


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_phases_load_and_fit_the_space(path):
    settings, space = load_train_settings(path), SearchSpace.load(path.with_name("space.yaml"))
    for phase in settings.phases:
        part = phase.space(space)
        assert all(part.contains(arch) for arch in drawn_archs(part, phase, 0)(3))
    assert settings.phases[-1].space(space).count() == space.count(), "the last phase trains the whole space"


def voxceleb(name):
    return load_train_settings(EGS / f"voxceleb/conf/{name}.yaml")


def test_the_published_lengths_and_rates():
    settings = voxceleb("train")
    per_epoch, total = count_steps(64, UTTERANCES, settings.batch)
    assert int(per_epoch) == 8531 and total == 546004
    assert [phase.epochs for phase in settings.phases] == [64] * 5
    assert [phase.frames for phase in settings.phases] == [200, 300, 300, 300, 300]
    schedule = settings.phases[0].schedule
    half = round(8 * per_epoch)
    assert abs(half - 68248) < 5, "the authors' cycle-step"
    rates = [learning_rate(schedule, half * (2 * cycle + 1), total, per_epoch) for cycle in range(4)]
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4], rel=1e-3)
    assert settings.optimiser == Optimiser("adam", weight_decay=2e-5, decay_all=True) and rate_factor(settings) == 1


def test_the_published_loss_crops_and_draws():
    settings = voxceleb("train")
    assert settings.loss == Loss("aam", margin=0.2, scale=30)
    assert (settings.batch, settings.normalisation, settings.precision) == (128, "mean_variance", "fp32")
    assert settings.augmentation == 7 / 8, "one of eight options is the utterance as recorded"
    assert settings.spec_augment == SpecAugment() and not settings.average and not settings.validation.take_best
    space = SearchSpace.load(EGS / "voxceleb/conf/space.yaml")
    drawn = [phase.space(space) for phase in settings.phases]
    assert [part.count() for part in drawn] == [1, 243, 351, 199_017, 4_066_875]
    for phase in settings.phases:
        assert phase.paths == ["random"] and phase.draw == Draw() and not phase.distillation and not phase.margin_ramp


def test_the_published_copies_and_front_end():
    plan = read_plan(EGS / "voxceleb/conf/augment_paper.yaml")
    assert not plan.speed_factors and plan.average_sources and len(plan.copies) == 3
    for copy in plan.copies:
        assert copy.mixture == {"reverb": 1, "music": 1, "babble": 1, "noise": 1, "tempo": 2, "compand": 1}
    assert sorted(plan.tempo_factors) == [0.8, 0.9, 1.1, 1.2]
    assert (plan.noise.snr, plan.music.snr, plan.babble.snr) == ([0, 15], [5, 15], [13, 20])
    assert plan.babble.sources == [3, 7]
    options = read_fbank_conf(EGS / "voxceleb/conf/fbank_paper.conf")
    assert options.type == "efficienttdnn" and options.num_frames(48000) == 301


def cost(egs, name, first=0):
    """Return the mean multiply-accumulates of the archs drawn, times epochs, from phase number `first` on."""
    folder = EGS / egs / "conf"
    space, total = SearchSpace.load(folder / "space.yaml"), 0.0
    for phase in load_train_settings(folder / f"{name}.yaml").phases[first:]:
        archs = drawn_archs(phase.space(space), phase, 0)
        total += phase.epochs * sum(arch_macs(arch, phase.frames) for step in range(600) for arch in archs(step)) / 600
    return total


@pytest.mark.parametrize(("egs", "progressive"), [("voxceleb", "train"), ("own", "train_progressive")])
def test_sandwich_phases_cost_what_the_phases_cost_that_they_replace(egs, progressive):
    assert cost(egs, "train_sandwich", 1) == pytest.approx(cost(egs, progressive, 1), rel=0.05)


@pytest.mark.parametrize(("egs", "one", "phases", "share"), [
    ("own", "train", "train_progressive", 1.0), ("voxceleb", "train_one_phase", "train", 0.43),
])  # fmt: skip
def test_one_phase_costs_the_stated_share_of_the_published_phases(egs, one, phases, share):
    assert cost(egs, one) == pytest.approx(share * cost(egs, phases), rel=0.04)


def test_the_recommended_lengths_and_rates():
    settings = voxceleb("train_recommended")
    plan = read_plan(EGS / "voxceleb/conf/augment.yaml")
    assert 1 + len(plan.speed_factors) == 3 and settings.epoch == "originals", "5,994 x 3 classes, epochs of originals"
    first = settings.phases[0]
    per_epoch, total = count_steps(first.epochs, UTTERANCES, settings.batch)
    assert total == 639849
    rates = [learning_rate(first.schedule, step, total, per_epoch) for step in (0, round(6 * per_epoch), total - 1)]
    assert rates[0] < 1e-4 and rates[1] == pytest.approx(0.1) and rates[2] == pytest.approx(5e-5)
    margins = [margin(first, settings.loss.margin, round(epoch * per_epoch), per_epoch) for epoch in (20, 30, 40, 150)]
    assert margins == pytest.approx([0, 0.1, 0.2, 0.2], abs=1e-4)
    assert settings.average == 10 and settings.checkpoint_epochs == 1 and settings.loss.scale == 32
    assert settings.optimiser == Optimiser("sgd", weight_decay=1e-4, decay_all=False, momentum=0.9, nesterov=True)
    assert settings.augmentation == 0.6 and {phase.crop for phase in settings.phases} == {2.0}


@pytest.mark.parametrize("name", ["train", "train_recommended", "train_sandwich"])
def test_fine_tuning_has_the_usual_constants_where_nothing_else_is_said(name):
    options = voxceleb(name).finetune
    assert (options.epochs, options.crop, options.margin, options.speed_copies) == (5, 6.0, 0.5, False)
    assert options.schedule == Schedule("exponential", max=1e-4, min=2.5e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bins: 2", "bins: -2", "spec_augment: bins >= 0 and frames >= 0"),
        ("frames: 5", "frames: -5", "spec_augment: bins >= 0 and frames >= 0"),
        ("logits: 0.5", "logits: -0.5", "distillation: logits, embedding and external >= 0"),
        ("embedding: 0.5", "embedding: -0.5", "distillation: logits, embedding and external >= 0"),
        ("logits: 0.5", "external: -1", "distillation: logits, embedding and external >= 0"),
        ("batch: 8", "loss: {topk: 1, topk_margin: -0.1}", "topk, topk_margin >= 0"),
        ("batch: 8", "validation: {dev_speakers: -1}", "dev_speakers >= 0"),
        ("checkpoint_epochs: 1", "checkpoint_epochs: 0", "checkpoint_epochs > 0"),
        ("checkpoint_epochs: 1", "checkpoint_minutes: 0", "checkpoint_minutes > 0"),
        ("checkpoint_epochs: 1", "checkpoint_minutes: -10", "checkpoint_minutes > 0"),
    ],
)
def test_what_is_out_of_range_is_named(config, old, new, message):
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"train.yaml: .*{message}"):
        load_train_settings(str(config))

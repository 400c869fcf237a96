import json
import sys

import numpy as np
import pytest

from etdnn.data.datadir import DataDir
from etdnn.data.trials import Trials, write_trials
from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.settings import load_train_settings
from etdnn.train.state import Checkpoints
from tests.train.conftest import make_training_set
from tests.train.test_phases import command, run

VALIDATION = "validation: {epochs: 1, crops: 16, frames: 30, dev_crops: 1, dev_frames: 30%s}\n"


@pytest.fixture
def with_dev(training_set):
    """The training set with a dev set of other speakers beside it."""
    dev = make_training_set(training_set.parent / "dev", speakers=3, utterances=4)
    utt2spk = DataDir(dev).utt2spk
    keys = sorted(utt2spk)
    pairs = [(a, b) for number, a in enumerate(keys) for b in keys[number + 1 :]]
    target = [utt2spk[a] == utt2spk[b] for a, b in pairs]
    for name in ("clean", "cross"):
        write_trials(dev / f"trials_{name}", Trials(*map(list, zip(*pairs, strict=True)), np.array(target)))
    return training_set


def train(config, space, data, out):
    return train_phase(load_train_settings(config), "largest", space, PhaseJob(data, out, None, 0, "cpu"))


def journal(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_the_best_on_dev_is_kept_and_training_goes_the_same_way(config, space, with_dev, tmp_path):
    train(config, space, with_dev, tmp_path / "plain")
    config.write_text(config.read_text() + "keep: 1\n" + VALIDATION % "")
    train(config, space, with_dev, tmp_path / "measured")
    for file in ("supernet", "head"):
        plain, measured = (hash_file(tmp_path / name / f"{file}.safetensors") for name in ("plain", "measured"))
        assert plain == measured
    states = [Checkpoints(tmp_path / name / "checkpoints") for name in ("plain", "measured")]
    weights = [one.load(9, "cpu")["network"] for one in states]
    assert all(value.equal(weights[1][name]) for name, value in weights[0].items())
    lines = [line for line in journal(tmp_path / "measured") if "dev_eer" in line]
    assert [line["step"] for line in lines] == [3, 6, 9]
    best = min(lines, key=lambda line: line["dev_eer"])
    assert lines[-1]["best_step"] == best["step"]
    assert states[1].steps() == sorted({best["step"], 9})
    assert all(0 <= line["dev_eer_clean"] <= 100 for line in lines)


def test_a_phase_can_end_with_the_best(config, space, with_dev, tmp_path):
    config.write_text(config.read_text() + VALIDATION % ", take_best: true")
    from etdnn.model.checkpoint import load_supernet

    supernet = load_supernet(train(config, space, with_dev, tmp_path / "run"))
    best = [line for line in journal(tmp_path / "run") if "dev_eer" in line][-1]["best_step"]
    kept = Checkpoints(tmp_path / "run/checkpoints").load(best, "cpu")["network"]
    assert all(value.equal(kept[name]) for name, value in supernet.state_dict().items())


def test_a_resumed_run_remembers_the_best(config, space, with_dev, tmp_path):
    config.write_text(config.read_text() + "keep: 5\n" + VALIDATION % ", take_best: true")
    train(config, space, with_dev, tmp_path / "whole")
    train(config, space, with_dev, tmp_path / "broken")
    for step in (6, 9):
        (tmp_path / f"broken/checkpoints/step-{step:08d}.pt").unlink()
    (tmp_path / "broken/supernet.safetensors").unlink()
    train(config, space, with_dev, tmp_path / "broken")
    assert hash_file(tmp_path / "whole/supernet.safetensors") == hash_file(tmp_path / "broken/supernet.safetensors")
    shown = [[line for line in journal(tmp_path / name) if "dev_eer" in line] for name in ("whole", "broken")]
    assert shown[0] == shown[1]


@pytest.mark.slow
def test_the_other_rank_waits_while_the_first_measures(config, space, with_dev, tmp_path):
    config.write_text(config.read_text() + VALIDATION % "")
    done = run(command(config, tmp_path, with_dev, tmp_path / "run", "largest", ranks=2))
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in journal(tmp_path / "run") if "dev_eer" in line] == [3, 6, 9]


def test_what_validation_needs_is_named(config, space, training_set, tmp_path):
    config.write_text(config.read_text() + VALIDATION % "")
    with pytest.raises(UserError, match="dev/feats.scp is missing"):
        train(config, space, training_set, tmp_path / "run")
    config.write_text(config.read_text() + "average: 2\n")
    config.write_text(config.read_text().replace("dev_frames: 30}", "dev_frames: 30, take_best: true}"))
    with pytest.raises(UserError, match="not both"):
        load_train_settings(config)


def test_tensorboard_gets_the_numbers_of_the_journal(config, space, with_dev, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config.write_text(config.read_text() + "tensorboard: true\n" + VALIDATION % "")
    train(config, space, with_dev, tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("largest/loss")}
    expected = {line["step"]: line["loss"] for line in journal(tmp_path / "run") if "loss" in line}
    assert losses == pytest.approx(expected, rel=1e-6)
    assert len(events.Scalars("largest/dev_eer")) == 3


def test_missing_tensorboard_is_named(config, space, training_set, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config.write_text(config.read_text() + "tensorboard: true\n")
    with pytest.raises(UserError, match="extra 'tensorboard'"):
        train(config, space, training_set, tmp_path / "run")

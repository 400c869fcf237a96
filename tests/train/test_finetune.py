import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from etdnn.data.datadir import write_table
from etdnn.embed.batchnorm import calibration_batches, reestimate
from etdnn.embed.derive import derive_subnet
from etdnn.errors import UserError
from etdnn.features.plan import MelNoise, Waveform
from etdnn.files import hash_file
from etdnn.model.checkpoint import load_supernet, read_subnet, save_subnet
from etdnn.model.supernet import Supernet
from etdnn.train.dataset import TrainingSet
from etdnn.train.finetune import FineTuneJob, finetune
from etdnn.train.loop import InterruptedTrainingError
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.settings import Distillation, FineTune, Loss, Schedule, Validation, load_train_settings


@pytest.fixture
def job(config, space, training_set, tmp_path):
    """A derived subnet of a supernet that was trained for three epochs."""
    settings = load_train_settings(config)
    path = train_phase(settings, "largest", space, PhaseJob(training_set, tmp_path / "largest", None, 0, "cpu"))
    supernet = load_supernet(path)
    net = supernet.derive("1-16-8-3-3-24")
    calibration = {"seed": 0, "crops": 16, "frames": 30, "batch": 8}
    reestimate(net, calibration_batches(TrainingSet(training_set).reader, "mean", **calibration))
    save_subnet(tmp_path / "derived.safetensors", net, {**supernet.metadata, "calibration": calibration})
    return FineTuneJob(
        tmp_path / "derived.safetensors", tmp_path / "largest/head.safetensors", training_set, training_set,
        tmp_path / "out/model.safetensors", seed=0, device="cpu",
    )  # fmt: skip


@pytest.fixture
def settings(config):
    options = FineTune(epochs=2, crop=0.4, margin=0.3, schedule=Schedule("exponential", max=1e-3, min=1e-4))
    loss = Loss(topk=2)
    return dataclasses.replace(load_train_settings(config), finetune=options, loss=loss)


def test_weights_move_arch_and_front_end_stay(settings, job):
    net, metadata = read_subnet(job.model)
    save_subnet(job.model, net, {**metadata, "alignment": {"aligned": True}, "embedding_space": "supernet abc"})
    finetune(settings, job)
    before, old = read_subnet(job.model)
    after, new = read_subnet(job.out)
    assert after.arch == before.arch and after.calibrated and new["frontend"] == old["frontend"]
    assert new["finetuning"]["settings.finetune.margin"] == 0.3
    assert new["finetuning"]["settings.loss.topk"] == 0, "no inter-topk penalty beside a large margin"
    assert not new.keys() & {"alignment", "embedding_space"}, "measured on the weights before"
    assert not torch.equal(before.stem.conv.weight, after.stem.conv.weight)
    assert torch.allclose(before.stem.conv.weight, after.stem.conv.weight, atol=0.05)


def test_noise_and_staged_features_serve_fine_tuning_too(settings, job, noisy_set, tmp_path):
    settings = dataclasses.replace(settings, mel_noise=MelNoise(probability=1, kinds={"noise": 1}))
    finetune(settings, dataclasses.replace(job, stage_to=tmp_path / "local"))
    assert read_subnet(job.out)[1]["mel_noise"]["probability"] == 1
    assert len(list((tmp_path / "local").glob("*.ark"))) == 2


def test_fine_tuning_on_audio_is_said_in_the_file(config, settings, space, spoken_set, tmp_path):
    settings = dataclasses.replace(settings, augmentation=-1.0, mel_noise=MelNoise())
    supernet = train_phase(settings, "largest", space, PhaseJob(spoken_set, tmp_path / "largest", None, 0, "cpu"))
    derived = tmp_path / "derived.safetensors"
    derive_subnet(supernet, "largest", spoken_set, derived, seed=0, crops=20, frames=30, device="cpu")
    job = FineTuneJob(derived, tmp_path / "largest/head.safetensors", spoken_set, spoken_set,
                      tmp_path / "out/model.safetensors", seed=0, device="cpu")  # fmt: skip
    finetune(dataclasses.replace(settings, waveform=Waveform(probability=1, workers=0)), job)
    before, after = read_subnet(derived)[1], read_subnet(job.out)[1]
    assert "waveform" not in before and after["waveform"]["probability"] == 1
    assert before["calibration"]["hash"] != after["calibration"]["hash"]


def test_a_broken_run_follows_the_unbroken_one(settings, job, tmp_path):
    finetune(settings, job)
    other = dataclasses.replace(job, out=tmp_path / "other/model.safetensors")
    finetune(settings, other)
    (tmp_path / "other/finetune/checkpoints/step-00000006.pt").unlink()
    other.out.unlink()
    finetune(settings, other)
    assert hash_file(job.out) == hash_file(other.out)


def test_a_time_limit_changes_nothing(settings, job, tmp_path):
    finetune(settings, job)
    other = dataclasses.replace(job, out=tmp_path / "other/model.safetensors")
    with pytest.raises(InterruptedTrainingError, match="by the time limit after step 1"):
        finetune(settings, dataclasses.replace(other, stop_after=1e-9))
    assert not other.out.exists()
    finetune(settings, other)
    assert hash_file(job.out) == hash_file(other.out)


def test_another_configuration_is_refused_or_begun_anew(settings, job):
    finetune(settings, job)
    first = hash_file(job.out)
    changed = dataclasses.replace(settings, finetune=dataclasses.replace(settings.finetune, margin=0.4))
    with pytest.raises(UserError, match="settings.finetune.margin was 0.3, now 0.4.* anew with --force"):
        finetune(changed, job)
    assert hash_file(job.out) == first
    finetune(changed, dataclasses.replace(job, force=True))
    assert read_subnet(job.out)[1]["finetuning"]["settings.finetune.margin"] == 0.4
    steps = [json.loads(line)["step"] for line in (job.out.parent / "finetune/train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[0] == 1, "from the first step on"


def test_the_mean_of_checkpoints_is_asked_for_by_its_own_section(settings, job):
    """The phases' `average` may be longer than fine-tuning is."""
    folder = job.out.parent / "finetune"
    finetune(dataclasses.replace(settings, average=5), job)
    assert not (folder / "averaged.txt").exists()
    options = dataclasses.replace(settings.finetune, average=2)
    finetune(dataclasses.replace(settings, average=5, finetune=options), dataclasses.replace(job, force=True))
    assert (folder / "averaged.txt").read_text() == "3\n6\n"
    with pytest.raises(ValueError, match="not both"):
        dataclasses.replace(settings, finetune=options, validation=Validation(epochs=1, take_best=True))


def test_the_largest_network_can_teach(settings, job, tmp_path):
    finetune(settings, job)
    taught = dataclasses.replace(settings.finetune, distillation=Distillation(logits=1.0, embedding=1.0))
    settings = dataclasses.replace(settings, finetune=taught)
    with pytest.raises(UserError, match="--teacher"):
        finetune(settings, dataclasses.replace(job, out=tmp_path / "taught/model.safetensors"))
    teacher = tmp_path / "largest/supernet.safetensors"
    finetune(settings, dataclasses.replace(job, out=tmp_path / "taught/model.safetensors", teacher=teacher))
    plain, _ = read_subnet(job.out)
    after, metadata = read_subnet(tmp_path / "taught/model.safetensors")
    assert metadata["finetuning"]["teacher"] == hash_file(teacher)
    assert not torch.equal(plain.stem.conv.weight, after.stem.conv.weight)
    with pytest.raises(ValueError, match="external is for phases"):
        FineTune(distillation=Distillation(external=1.0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_teacher_computes_in_the_precision_of_the_training(settings, job, tmp_path, monkeypatch, precision):
    taught = dataclasses.replace(settings.finetune, epochs=0.3, distillation=Distillation(embedding=1.0))
    settings = dataclasses.replace(settings, finetune=taught, precision=precision)
    forward, seen = Supernet.forward, set()

    def noting(self, x, arch):
        seen.add(torch.is_autocast_enabled("cpu"))
        return forward(self, x, arch)

    monkeypatch.setattr(Supernet, "forward", noting)
    finetune(settings, dataclasses.replace(job, teacher=tmp_path / "largest/supernet.safetensors"))
    assert seen == {precision == "bf16"}


def test_without_the_head_the_reason_is_given(settings, job, tmp_path):
    with pytest.raises(UserError, match="class directions"):
        finetune(settings, dataclasses.replace(job, head=tmp_path / "none.safetensors"))


def test_speed_copies_keep_their_classes_but_are_not_visited(training_set):
    speakers = TrainingSet(training_set).speakers
    fast = [key for key in TrainingSet(training_set).reader.keys if key.startswith("s3-")]
    write_table(training_set / "utt2aug", dict.fromkeys(fast, "speed=1.1"))
    data = TrainingSet(training_set, speed_copies=False)
    assert data.speakers == speakers and data.items == 36
    seen = {data.reader.keys[number] for step in range(6) for number in data.draw(0, "p", step, 6, 30)[0]}
    assert len(seen) == 36 and not seen & set(fast)


def test_stage_5_goes_on_from_the_subnet_that_it_began_with(config, space, training_set, tmp_path, repository):
    job = PhaseJob(training_set, tmp_path / "largest", None, 0, "cpu")
    train_phase(load_train_settings(config), "largest", space, job)
    config.write_text(config.read_text() + "finetune: {epochs: 1, crop: 0.4}\n")
    for name in ("local", "utils"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/train_all").symlink_to(training_set)
    environment = {**os.environ, "PYTHONPATH": str(repository), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    words = ["--phase", "largest", "--frames", "30", "--finetune", "true", "--train-config", str(config)]

    def stage():
        call = ["bash", "local/derive.sh", *words, "sets", ".", "largest"]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    stage()
    folder = tmp_path / "subnet/largest"
    first, began = hash_file(folder / "model.safetensors"), (folder / "derived.safetensors").stat().st_mtime_ns
    for left in (folder / "model.safetensors", folder / ".derive.stamp"):  # as if killed before the end
        left.unlink()
    stage()
    assert hash_file(folder / "model.safetensors") == first
    assert (folder / "derived.safetensors").stat().st_mtime_ns == began

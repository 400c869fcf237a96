import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers.spoken_set import localise

from etdnn.data.ark import FeatureReader
from etdnn.embed.batchnorm import calibration_batches, calibration_hash
from etdnn.embed.derive import derive_subnet
from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model.checkpoint import load_supernet
from etdnn.model.supernet import Supernet
from etdnn.seeding import torch_generator
from etdnn.train.archs import drawn_archs
from etdnn.train.dataset import TrainingSet
from etdnn.train.loop import INTERRUPTED, Stepper
from etdnn.train.losses import MarginHead
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.ranks import Ranks
from etdnn.train.settings import load_train_settings


def train(config, space, data, out, phase="largest", init=None, seed=0, **options):
    settings = load_train_settings(config)
    return train_phase(settings, phase, space, PhaseJob(data, out, init, seed, "cpu", **options))


def command(config, tmp_path, data, out, phase, init=None, ranks=1, extra=()):
    """Return the command line of one phase, through torchrun where there are several ranks."""
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "etdnn.train.launch", "--standalone", "--nproc-per-node", str(ranks)]
    words = [
        *launcher,
        "-m",
        "etdnn",
        "train",
        "--config",
        config,
        "--space",
        tmp_path / "space.yaml",
        "--phase",
        phase,
    ]
    words += ["--data", data, "--out", out, "--device", "cpu", *(["--init", init] if init else []), *extra]
    return [str(word) for word in words]


def run(words):
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_two_phases_learn_and_repeat_to_the_bit(config, space, training_set, tmp_path):
    for name in ("a", "b"):
        train(config, space, training_set, tmp_path / name / "largest")
        train(config, space, training_set, tmp_path / name / "all", "all", tmp_path / name / "largest")
    for phase in ("largest", "all"):
        for file in ("supernet", "head"):
            path = f"{phase}/{file}.safetensors"
            assert hash_file(tmp_path / "a" / path) == hash_file(tmp_path / "b" / path)
    lines = [json.loads(line) for line in (tmp_path / "a/largest/train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert lines[-1]["loss"] < lines[3]["loss"], "compared once the margin is whole"
    supernet = load_supernet(tmp_path / "a/all/supernet.safetensors")
    assert supernet.metadata["frontend"]["key"] == "test8" and supernet.metadata["normalisation"] == "mean"
    train(config, space, training_set, tmp_path / "c/largest", seed=1)
    assert hash_file(tmp_path / "a/largest/supernet.safetensors") != hash_file(
        tmp_path / "c/largest/supernet.safetensors"
    )


def test_mel_noise_repeats_to_the_bit_and_its_noises_are_part_of_what_is_resumed(config, space, noisy_set, tmp_path):
    plain = train(config, space, noisy_set, tmp_path / "plain")
    config.write_text("mel_noise: {probability: 0.8, kinds: {noise: 1}}\n" + config.read_text())
    first, second = (train(config, space, noisy_set, tmp_path / name) for name in "ab")
    assert hash_file(first) == hash_file(second) != hash_file(plain)
    staged = train(config, space, noisy_set, tmp_path / "c", stage_to=tmp_path / "local")
    assert hash_file(staged) == hash_file(first) and len(list((tmp_path / "local").glob("*.ark"))) == 2
    derived = [
        derive_subnet(
            model, "largest", noisy_set, tmp_path / "x.safetensors", seed=0, crops=20, frames=30, device="cpu"
        )
        for model in (first, second, plain)
    ]
    hashes = [metadata["calibration"]["hash"] for metadata in derived]
    assert hashes[0] == hashes[1] != hashes[2], "batch norm is measured on crops with the noise of the training"
    assert derived[0]["mel_noise"]["probability"] == 0.8 and "mel_noise" not in derived[2]
    speakers = noisy_set.with_name("train_noise") / "utt2spk"
    speakers.write_text(speakers.read_text().replace("noise-2 noise", "noise-2 music"))
    with pytest.raises(UserError, match="noises.utt2spk was"):
        train(config, space, noisy_set, tmp_path / "a")


def test_crops_from_audio_repeat_and_resume_to_the_bit_with_any_workers(config, space, spoken_set, tmp_path):
    once = config.read_text().replace("augmentation: 0.5", "waveform: {probability: 0.8, workers: 0}")
    config.write_text(once)
    whole = train(config, space, spoken_set, tmp_path / "a")
    metadata = load_supernet(whole).metadata
    assert metadata["waveform"]["probability"] == 0.8 and "workers" not in metadata["waveform"]
    config.write_text(once.replace("workers: 0", "workers: 2"))
    broken = train(config, space, spoken_set, tmp_path / "b")
    assert hash_file(broken) == hash_file(whole)
    (tmp_path / "b/checkpoints/step-00000009.pt").unlink()
    broken.unlink()
    assert hash_file(train(config, space, spoken_set, tmp_path / "b")) == hash_file(whole)
    derived = [
        derive_subnet(whole, "largest", spoken_set, tmp_path / "x.safetensors", seed=seed, crops=20, frames=30,
                      device="cpu")["calibration"]["hash"] for seed in (0, 0, 1)
    ]  # fmt: skip
    assert derived[0] == derived[1] != derived[2]
    reader = FeatureReader(spoken_set / "feats.scp")
    stored = calibration_batches(reader, "mean", seed=0, crops=20, frames=30)
    assert calibration_hash(stored) != derived[0], "batch norm is measured on crops as training heard them"
    for change, name in (
        ("probability: 0.8 -> probability: 0.7", "settings.waveform.probability was 0.8, now 0.7"),
        ("waveform: {probability: 0.8, workers: 0} -> ", "noises.rir.scp was"),
    ):
        config.write_text(once.replace(*change.split(" -> ")))
        with pytest.raises(UserError, match=name):
            train(config, space, spoken_set, tmp_path / "a")
    config.write_text(once)
    for table, name in (
        (spoken_set.parent / "noise/train/rir.scp", "noises.rir"),
        (spoken_set / "wav.scp", "tables.wav"),
    ):
        lines = table.read_text()
        table.write_text(lines.replace("/", "//", 1))
        with pytest.raises(UserError, match=f"{name}.scp was"):
            train(config, space, spoken_set, tmp_path / "a")
        table.write_text(lines)
    for other in ("augmentation: 0.5", "mel_noise: {probability: 0.5}"):
        config.write_text(f"{other}\n{once}")
        with pytest.raises(UserError, match="leave out mel_noise and augmentation"):
            load_train_settings(config)


def test_broken_audio_stops_training_with_its_utterance(config, space, spoken_set, tmp_path):
    localise(spoken_set, tmp_path / "audio")
    cut = next((tmp_path / "audio").glob("*.flac"))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    config.write_text(config.read_text().replace("augmentation: 0.5", "waveform: {probability: 0.8, workers: 1}"))
    done = run(command(config, tmp_path, spoken_set, tmp_path / "out", "largest"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("etdnn train: error: utterance ") and cut.name in done.stderr


def test_crops_longer_than_all_utterances_are_wrapped_and_said(config, space, training_set, tmp_path, capsys):
    config.write_text(config.read_text().replace("crop: 0.3", "crop: 0.9").replace("epochs: 3", "epochs: 0.3"))
    train(config, space, training_set, tmp_path / "out")
    said = capsys.readouterr().out
    assert "warning: all of 48 utterances are shorter than the crop of 90 frames and are wrapped" in said
    assert "48 utterances in 24 items of 4 classes" in said


def test_stored_statistics_do_not_move_in_training(config, space, training_set, tmp_path):
    supernet = load_supernet(train(config, space, training_set, tmp_path / "largest"))
    for name, value in supernet.network.named_buffers():
        if name.endswith("running_mean"):
            assert torch.equal(value, torch.zeros_like(value)), name


def test_every_path_is_drawn_from_seed_and_step(config, space):
    settings = load_train_settings(config)
    one, two, other = (drawn_archs(space, settings.phase("all"), seed) for seed in (0, 0, 1))
    paths = [one(step) for step in range(30)]
    assert paths == [two(step) for step in range(30)] != [other(step) for step in range(30)]
    assert all(path[0] == space.largest and path[2] == space.smallest for path in paths)
    assert len({path[1] for path in paths}) > 10


def test_resume_after_an_interruption_follows_the_unbroken_run(config, space, training_set, tmp_path):
    train(config, space, training_set, tmp_path / "whole")
    train(config, space, training_set, tmp_path / "broken")
    checkpoints = tmp_path / "broken/checkpoints"
    (checkpoints / "step-00000009.pt").unlink()
    for file in ("supernet", "head"):
        (tmp_path / f"broken/{file}.safetensors").unlink()
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000006.pt"]
    train(config, space, training_set, tmp_path / "broken")
    for file in ("supernet", "head"):
        assert hash_file(tmp_path / f"whole/{file}.safetensors") == hash_file(tmp_path / f"broken/{file}.safetensors")
    assert (tmp_path / "whole/train.jsonl").read_text().count("\n") == (
        tmp_path / "broken/train.jsonl"
    ).read_text().count("\n")


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_writes_a_checkpoint_and_resumes_to_the_bit(config, space, training_set, tmp_path, ranks):
    long = config.read_text().replace("epochs: 3\n    crop: 0.3\n    margin", "epochs: 6\n    crop: 0.3\n    margin")
    config.write_text(long)
    out = tmp_path / "run"
    words = command(config, tmp_path, training_set, out, "largest", ranks=ranks)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not any((out / "checkpoints").glob("step-*.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    if process.returncode == 0:
        pytest.fail("the training was over before the signal came")
    assert process.returncode == INTERRUPTED and "start again" in errors
    assert run(words).returncode == 0
    whole = tmp_path / "whole"
    assert run(command(config, tmp_path, training_set, whole, "largest", ranks=ranks)).returncode == 0
    assert hash_file(out / "supernet.safetensors") == hash_file(whole / "supernet.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_at_random_moments(config, space, training_set, tmp_path, ranks):
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 30"))
    whole, out = tmp_path / "whole", tmp_path / "killed"
    for phase, init in (("largest", None), ("all", "largest")):
        words = command(config, tmp_path, training_set, whole / phase, phase, init and whole / init, ranks)
        begin = time.monotonic()
        assert run(words).returncode == 0
        took = time.monotonic() - begin
        words = command(config, tmp_path, training_set, out / phase, phase, init and out / init, ranks)
        moments = random.Random(ranks)
        for _ in range(5):
            process = subprocess.Popen(
                words, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            time.sleep(moments.uniform(0.3, 1.0) * took)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert run(words).returncode == 0
        assert hash_file(out / phase / "supernet.safetensors") == hash_file(whole / phase / "supernet.safetensors")


def test_two_ranks_equal_one_that_accumulates(config, space, training_set, tmp_path):
    assert run(command(config, tmp_path, training_set, tmp_path / "two", "largest", ranks=2)).returncode == 0
    accumulating = config.with_name("accumulate.yaml")
    accumulating.write_text(config.read_text() + "accumulate: 2\n")
    train(accumulating, space, training_set, tmp_path / "one")
    one = load_supernet(tmp_path / "one/supernet.safetensors").state_dict()
    two = load_supernet(tmp_path / "two/supernet.safetensors").state_dict()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=2e-4), name


def test_what_changed_is_refused_by_name_unless_overridden(config, space, training_set, tmp_path):
    train(config, space, training_set, tmp_path / "run")
    config.write_text(config.read_text().replace("batch: 8", "batch: 12"))
    with pytest.raises(UserError, match="settings.batch was 8, now 12"):
        train(config, space, training_set, tmp_path / "run")
    train(config, space, training_set, tmp_path / "run", override=True)
    with pytest.raises(UserError, match="threads was 1, now 2"):
        train(config, space, training_set, tmp_path / "run", threads=2)
    with pytest.raises(UserError, match="seed was 0, now 5"):
        train(config, space, training_set, tmp_path / "run", seed=5)


def test_a_complete_phase_stays_as_it_is_without_its_checkpoints(config, space, training_set, tmp_path, capsys):
    made = train(config, space, training_set, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    before = [(path, path.stat().st_mtime_ns) for path in sorted((tmp_path / "run").rglob("*"))]
    assert train(config, space, training_set, tmp_path / "run") == made
    assert "phase largest is complete" in capsys.readouterr().out
    assert [(path, path.stat().st_mtime_ns) for path in sorted((tmp_path / "run").rglob("*"))] == before


def test_force_starts_anew(config, space, training_set, tmp_path):
    train(config, space, training_set, tmp_path / "run")
    before = hash_file(tmp_path / "run/supernet.safetensors")
    train(config, space, training_set, tmp_path / "run", seed=5, force=True)
    assert hash_file(tmp_path / "run/supernet.safetensors") != before


def test_force_discards_nothing_for_a_training_that_cannot_begin(config, space, training_set, tmp_path):
    made = train(config, space, training_set, tmp_path / "run")
    config.write_text(config.read_text() + "validation: {epochs: 1}\n")
    with pytest.raises(UserError, match="dev/feats.scp is missing"):
        train(config, space, training_set, tmp_path / "run", force=True)
    assert made.is_file() and any((tmp_path / "run/checkpoints").iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch: 8", "batch: 100", "larger than the training set"),
        ("batch: 8", "batch: 9\naccumulate: 2", "cannot be split"),
        ("kernel: all", "kernel: [1, 7]", "7 is not among its kernels"),
        ("kernel: all", "kernle: all", "unknown key 'kernle' .did you mean 'kernel'"),
        ("max: 1.0e-2, half", "max: -1, half", "0 <= min <= max"),
        ("batch: 8", "batch: eight", "batch: expected int"),
    ],
)
def test_mistakes_in_the_configuration_are_named(config, space, training_set, tmp_path, old, new, message):
    assert old in config.read_text()
    train(config, space, training_set, tmp_path / "largest")
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        train(config, space, training_set, tmp_path / "all", "all", tmp_path / "largest")


def test_a_phase_of_another_space_or_other_speakers_is_refused(config, space, training_set, tmp_path):
    from tests.train.conftest import make_training_set

    train(config, space, training_set, tmp_path / "largest")
    with pytest.raises(UserError, match="made for space"):
        train(config, space.restrict(cats=[24]), training_set, tmp_path / "x", "all", tmp_path / "largest")
    other = make_training_set(tmp_path / "other", speakers=5)
    with pytest.raises(UserError, match="knows 4 speakers"):
        train(config, space, other, tmp_path / "x", "all", tmp_path / "largest")


def test_a_loss_that_is_not_finite_names_the_utterances(config, space, training_set, tmp_path):
    config.write_text(config.read_text().replace("max: 1.0e-2, min: 1.0e-4", "max: 1.0e+30, min: 1.0e-4"))
    with pytest.raises(UserError, match=r"not finite at step \d+ of phase largest.*s\d-a-\d"):
        train(config, space, training_set, tmp_path / "x")


def first_phase(config, space, data) -> Stepper:
    settings = load_train_settings(config)
    head, ranks, phase = MarginHead(space.embedding, 4, settings.loss), Ranks("cpu"), settings.phase("largest")
    head.reset(torch_generator(0))
    network = Supernet(space).train()
    return Stepper(network, lambda _: [space.largest], head, TrainingSet(data), settings, phase, ranks, 0)


def test_of_several_ranks_the_one_with_the_broken_loss_names_the_utterances(config, space, training_set, monkeypatch):
    """This rank's loss is finite, a second one's was not."""
    stepper = first_phase(config, space, training_set)
    mean_over = stepper.gradients.mean_over
    monkeypatch.setattr(stepper.gradients, "mean_over", lambda ranks: mean_over(ranks) + torch.tensor([0, 0, 0, 0.5]))
    with pytest.raises(UserError, match=r"the loss of another rank is not finite at step 0 of phase largest [^:]*$"):
        stepper.take(0, stepper.batches(0))


def test_a_step_asks_its_device_once_for_loss_stop_and_finiteness(config, space, training_set, monkeypatch):
    """On a device that works beside the processor every question is a wait."""
    stepper, asked = first_phase(config, space, training_set), []
    batches = stepper.batches(0)
    for name in ("tolist", "__bool__"):
        answer = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, answer=answer: (asked.append(1), answer(self))[1])
    stepper.take(0, batches)
    assert len(asked) == 1


def test_a_full_disc_leaves_the_last_checkpoint(config, space, training_set, tmp_path):
    out = tmp_path / "run"
    train(config, space, training_set, tmp_path / "whole")
    train(config, space, training_set, out)
    (out / "checkpoints/step-00000009.pt").unlink()
    (out / "supernet.safetensors").unlink()
    words = command(config, tmp_path, training_set, out, "largest")
    result = subprocess.run(["bash", "-c", 'ulimit -f 8; exec "$@"', "_", *words], capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "step-00000009.pt: cannot be written" in result.stderr.strip().splitlines()[-1]
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000006.pt"]
    train(config, space, training_set, out)
    assert hash_file(out / "supernet.safetensors") == hash_file(tmp_path / "whole/supernet.safetensors")

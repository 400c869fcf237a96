import numpy as np
import pytest
import torch

from etdnn.data.datadir import DataDir, write_table
from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model.checkpoint import read_tensors
from etdnn.scoring.embeddings import write_embeddings
from etdnn.train.dataset import TrainingSet
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.settings import load_train_settings
from etdnn.train.state import Checkpoints
from etdnn.train.teacher import Teacher


@pytest.fixture
def scp(training_set, tmp_path):
    """Embeddings of the originals by a model of 7 dimensions that knows the speakers."""
    utt2spk = DataDir(training_set).utt2spk
    keys = [key for key in sorted(utt2spk) if not key.endswith("-noise")]
    centres = np.random.default_rng(3).normal(size=(4, 7))
    matrix = np.stack([centres[int(utt2spk[key][1:])] for key in keys])
    write_embeddings(tmp_path / "teacher.ark", tmp_path / "teacher.scp", keys, matrix)
    return tmp_path / "teacher.scp"


def train(config, space, data, out, scp, phase="all", init=None):
    job = PhaseJob(data, out, init, 0, "cpu", teacher_scp=scp)
    return train_phase(load_train_settings(config), phase, space, job)


def test_copies_have_the_embedding_of_their_original_unless_at_another_speed(training_set, scp):
    write_table(training_set / "utt2aug", {"s0-a-0-noise": "speed=0.9 noise=n@5", "s0-a-1-noise": "noise=n@5"})
    keys = TrainingSet(training_set).reader.keys
    teacher = Teacher(scp, training_set, keys, 12, 0)
    rows = dict(zip(keys, teacher.rows.tolist(), strict=True))
    assert rows["s0-a-1-noise"] == rows["s0-a-1"] >= 0 and rows["s0-a-0-noise"] == -1 and teacher.known == 47
    numbers = np.array([list(keys).index(key) for key in ("s0-a-1", "s0-a-0-noise", "s2-a-3")])
    embeddings = torch.randn(3, 12)
    expected = 1 - torch.nn.functional.cosine_similarity(
        teacher.projection(embeddings), teacher.targets[[rows["s0-a-1"], 0, rows["s2-a-3"]]]
    )
    assert teacher(embeddings, numbers).item() == pytest.approx(expected[[0, 2]].mean().item(), rel=1e-5)


def test_an_original_that_stands_for_itself_and_has_no_embedding_teaches_nothing(training_set, tmp_path):
    keys = TrainingSet(training_set).reader.keys
    write_table(training_set / "utt2uniq", {key: key.removesuffix("-noise") for key in keys})  # as combine_data.sh does
    write_embeddings(tmp_path / "one.ark", tmp_path / "one.scp", ["s1-a-2"], np.ones((1, 4)))
    teacher = Teacher(tmp_path / "one.scp", training_set, keys, 12, 0)
    assert [key for key, row in zip(keys, teacher.rows, strict=True) if row >= 0] == ["s1-a-2", "s1-a-2-noise"]


def test_a_copy_of_a_copy_has_the_embedding_of_the_first_original(training_set, tmp_path):
    keys = TrainingSet(training_set).reader.keys
    originals = {"s0-a-1-noise": "s0-a-1", "s0-a-1": "s0-a-2", "s0-a-2": "s0-a-3", "s1-a-0-noise": "elsewhere"}
    write_table(training_set / "utt2uniq", dict(sorted(originals.items())))
    write_embeddings(tmp_path / "x.ark", tmp_path / "x.scp", ["s0-a-3", "elsewhere"], np.eye(2, 4))
    teacher = Teacher(tmp_path / "x.scp", training_set, keys, 12, 0)
    found = {key: row for key, row in zip(keys, teacher.rows.tolist(), strict=True) if row >= 0}
    assert found == {"s0-a-1": 0, "s0-a-1-noise": 0, "s0-a-2": 0, "s0-a-3": 0, "s1-a-0-noise": 1}


def test_a_teacher_that_comes_on_the_way_is_refused(config, space, training_set, tmp_path, scp):
    train(config, space, training_set, tmp_path / "run", scp, "largest")
    (tmp_path / "run/supernet.safetensors").unlink()
    config.write_text(
        config.read_text().replace("  - name: largest", "  - name: largest\n    distillation: {external: 1.0}")
    )
    job = PhaseJob(training_set, tmp_path / "run", None, 0, "cpu", teacher_scp=scp, override=True)
    with pytest.raises(UserError, match="holds network, head, this training has network, head, teacher"):
        train_phase(load_train_settings(config), "largest", space, job)


def test_subnets_learn_from_it_and_a_broken_run_follows(config, space, training_set, tmp_path, scp):
    config.write_text(config.read_text().replace("{logits: 0.5, embedding: 0.5}", "{external: 2.0}"))
    train(config, space, training_set, tmp_path / "largest", scp, "largest")
    for name in ("whole", "broken"):
        train(config, space, training_set, tmp_path / name, scp, init=tmp_path / "largest")
    assert (tmp_path / "whole/projection.safetensors").is_file()
    (tmp_path / "broken/checkpoints/step-00000009.pt").unlink()
    (tmp_path / "broken/supernet.safetensors").unlink()
    train(config, space, training_set, tmp_path / "broken", scp, init=tmp_path / "largest")
    for file in ("supernet", "projection"):
        paths = [tmp_path / name / f"{file}.safetensors" for name in ("whole", "broken")]
        assert hash_file(paths[0]) == hash_file(paths[1])
    config.write_text(config.read_text().replace("{external: 2.0}", "{external: 0.0}"))
    train(config, space, training_set, tmp_path / "alone", scp, init=tmp_path / "largest")
    assert hash_file(tmp_path / "alone/supernet.safetensors") != hash_file(tmp_path / "whole/supernet.safetensors")


def test_a_mean_of_checkpoints_has_the_mean_projection(config, space, training_set, tmp_path, scp):
    config.write_text(
        config.read_text().replace("  - name: largest", "  - name: largest\n    distillation: {external: 1.0}")
    )
    config.write_text(config.read_text() + "average: 2\n")
    train(config, space, training_set, tmp_path / "run", scp, "largest")
    mean = Checkpoints(tmp_path / "run/checkpoints").average([6, 9], "teacher")
    found, _ = read_tensors(tmp_path / "run/projection.safetensors")
    assert torch.equal(found["projection.weight"], mean["projection.weight"])


def test_what_is_missing_is_named(config, space, training_set, tmp_path):
    config.write_text(config.read_text().replace("{logits: 0.5, embedding: 0.5}", "{external: 1.0}"))
    with pytest.raises(UserError, match="--teacher-scp"):
        train(config, space, training_set, tmp_path / "run", None)
    write_embeddings(tmp_path / "x.ark", tmp_path / "x.scp", ["other"], np.ones((1, 4)))
    with pytest.raises(UserError, match="no embedding of any utterance"):
        train(config, space, training_set, tmp_path / "run", tmp_path / "x.scp")

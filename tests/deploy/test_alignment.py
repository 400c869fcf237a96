import json

import numpy as np
import pytest
from helpers.models import save_model
from helpers.tiny_corpus import make_set

import etdnn
from etdnn.cli import main
from etdnn.data.datadir import DataDir
from etdnn.deploy.alignment import ALLOWED, across, note_alignment
from etdnn.deploy.gallery import Gallery
from etdnn.deploy.model_card import model_card
from etdnn.errors import UserError
from etdnn.model.checkpoint import read_subnet
from etdnn.scoring.embeddings import Embeddings, read_embeddings, write_embeddings


@pytest.fixture
def subnets(tmp_path):
    """Dev with trials, and folders of three subnets: `near` embeds as `largest` does, `far` as well but turned."""
    make_set(tmp_path / "data" / "dev", "dv", speakers=8, utterances=6, seed=2, trials=("clean", "cross"))
    utt2spk = DataDir(tmp_path / "data" / "dev").utt2spk
    generator = np.random.default_rng(0)
    voices = {speaker: generator.standard_normal(192) for speaker in sorted(set(utt2spk.values()))}
    turn = np.linalg.qr(generator.standard_normal((192, 192)))[0]
    for seed, name in enumerate(("largest", "near", "far")):
        folder = tmp_path / name
        folder.mkdir()
        save_model(folder / "model.safetensors", seed=seed, supernet="abc")
        rows = np.array([voices[one] + 3 * generator.standard_normal(192) for one in utt2spk.values()])
        matrix = (rows @ turn if name == "far" else rows).astype(np.float32)
        (folder / "embeddings").mkdir()
        write_embeddings(folder / "embeddings/dev.ark", folder / "embeddings/dev.scp", list(utt2spk), matrix)
    return tmp_path


def test_models_that_understand_each_other_share_galleries(subnets):
    dev = subnets / "data" / "dev"
    found = {
        name: note_alignment(subnets / name / "model.safetensors", subnets / "largest", dev)
        for name in ("largest", "near", "far")
    }
    assert found["largest"]["aligned"] and found["near"]["aligned"] and not found["far"]["aligned"]
    rates = found["near"]["eer"]["clean"]
    assert rates["across"] <= ALLOWED * max(rates["own"], rates["reference"]) < 0.5
    assert found["far"]["eer"]["clean"]["across"] > 0.35
    largest, near, far = (etdnn.load_model(subnets / name / "model.safetensors") for name in ("largest", "near", "far"))
    gallery = Gallery.empty(largest)
    gallery.check(near, "people")
    with pytest.raises(UserError, match="enrolled with another model"):
        gallery.check(far, "people")
    assert "shared with other subnets" in model_card(near.metadata) and "this model's own" in model_card(far.metadata)


def test_another_reference_is_another_space(subnets):
    dev, near = subnets / "data" / "dev", subnets / "near" / "model.safetensors"
    note_alignment(near, subnets / "largest", dev)
    gallery = Gallery.empty(etdnn.load_model(near))
    gallery.check(etdnn.load_model(subnets / "largest" / "model.safetensors"), "people")
    save_model(subnets / "largest" / "model.safetensors", seed=7, supernet="abc")  # fine-tuned, say
    note_alignment(subnets / "largest" / "model.safetensors", subnets / "largest", dev)
    with pytest.raises(UserError, match="enrolled with another model"):
        gallery.check(etdnn.load_model(subnets / "largest" / "model.safetensors"), "people")


def test_noting_twice_changes_nothing_and_old_galleries_stay_readable(subnets):
    path = subnets / "near" / "model.safetensors"
    gallery = Gallery.empty(etdnn.load_model(path))
    note_alignment(path, subnets / "largest", subnets / "data" / "dev")
    before = path.read_bytes()
    note_alignment(path, subnets / "largest", subnets / "data" / "dev")
    assert path.read_bytes() == before
    gallery.check(etdnn.load_model(path), "people")


def test_other_supernets_are_not_compared(subnets, capsys):
    save_model(subnets / "far" / "model.safetensors", seed=2, supernet="other")
    arguments = ["package", str(subnets / "far/model.safetensors"), str(subnets / "export"), "--reference"]
    assert main([*arguments, str(subnets / "largest")]) == 2
    assert "--reference needs --data" in capsys.readouterr().err
    assert note_alignment(subnets / "far/model.safetensors", subnets / "largest", subnets / "data/dev") is None
    assert "alignment" not in read_subnet(subnets / "far/model.safetensors")[1]


def test_across_is_the_worse_of_both_ways(subnets):
    data = DataDir(subnets / "data" / "dev")
    own, other = (read_embeddings(subnets / name / "embeddings/dev.scp") for name in ("near", "largest"))
    found = across(data, "clean", own, other)
    assert found == {**across(data, "clean", other, own), "own": found["own"], "reference": found["reference"]}
    alone = across(data, "clean", own, Embeddings(own.ids, own.matrix))
    assert alone["across"] == alone["own"] == alone["reference"] == found["own"]
    assert json.dumps(found)


def test_nothing_is_aligned_that_was_not_measured(subnets):
    for path in (subnets / "data" / "dev").glob("trials_*"):
        path.unlink()
    with pytest.raises(UserError, match="no trials_NAME in it"):
        note_alignment(subnets / "far/model.safetensors", subnets / "largest", subnets / "data/dev")
    assert "embedding_space" not in read_subnet(subnets / "far/model.safetensors")[1]

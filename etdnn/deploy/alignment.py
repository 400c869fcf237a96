"""Whether embeddings of two subnets of one supernet can be compared with each other: measured on dev, not assumed."""

from pathlib import Path
from typing import Any

from etdnn.data.datadir import DataDir
from etdnn.errors import UserError
from etdnn.model.checkpoint import read_subnet, save_subnet
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.scoring.embeddings import Embeddings, read_embeddings, weights_hash
from etdnn.scoring.metrics import Curve

ALLOWED = 1.1
"""Across two models, the EER may be this many times the worse of their own."""


def note_alignment(model: str | Path, reference: str | Path, dev: str | Path) -> dict[str, Any] | None:
    """Measure on the lists of `dev` whether `model` and the model of folder `reference` understand each other.

    Both are model.safetensors with embeddings/dev.scp beside (stages 5 and 6). On every list, enrolment by one and test
    by the other may not raise the EER above `ALLOWED` times the worse of the two alone. Then the model file says
    `embedding_space`: the reference's hash, as the reference itself says, and galleries take all models that
    say the same. Not the supernet's: another reference (fine-tuned, say) is another space. Returns what was found and
    written as `alignment`, None where the models are not of one supernet. UserError where dev has no lists.
    """
    model, other = Path(model), Path(reference) / "model.safetensors"
    net, metadata = read_subnet(model)
    anchor, described = read_subnet(other)
    if not metadata.get("supernet") or metadata["supernet"] != described.get("supernet"):
        return None
    own, theirs = (read_embeddings(path.parent / "embeddings" / "dev.scp") for path in (model, other))
    data = DataDir(dev)
    if not data.trial_names():
        raise UserError(f"{dev}: no trials_NAME in it, so nothing to measure on; stage 0 makes trial lists")
    lists = {name: across(data, name, own, theirs) for name in data.trial_names()}
    aligned = all(rates["across"] <= ALLOWED * max(rates["own"], rates["reference"]) for rates in lists.values())
    found = {"reference": weights_hash(anchor), "aligned": aligned, "eer": lists}
    written = {key: value for key, value in metadata.items() if key != "embedding_space"} | {"alignment": found}
    if aligned:
        written["embedding_space"] = found["reference"]
    if written != metadata:
        save_subnet(model, net, written)
    return found


def across(data: DataDir, name: str, own: Embeddings, reference: Embeddings) -> dict[str, float]:
    """Return EERs of one trial list as fractions: of each model alone, and the worse of the two ways across."""
    trials, where = data.trials(name), f"{data.path}/trials_{name}"
    unit = {"own": length_normalise(own.matrix), "reference": length_normalise(reference.matrix)}
    index = {"own": own.index, "reference": reference.index}

    def eer(enrol: str, test: str) -> float:
        rows = index_trials(trials.enrol, trials.test, index[enrol], index[test], allow_missing=True, where=where)
        scores = cosine_scores(unit[enrol], unit[test], rows.enrol, rows.test)
        target = trials.target[rows.kept]
        return float(Curve.of(scores[target], scores[~target]).eer())

    ways = eer("own", "reference"), eer("reference", "own")
    return {"own": eer("own", "own"), "reference": eer("reference", "reference"), "across": max(ways)}

"""A folder with everything of one model that travels: ONNX files, an example, the model card."""

import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir, count_set
from etdnn.data.outputs import replace_directory
from etdnn.deploy.export import FORMS, Exporter
from etdnn.deploy.model_card import model_card
from etdnn.deploy.onnx_tools import embed_with, need, open_session
from etdnn.deploy.quantise import layer_table, turned
from etdnn.deploy.runtime import Embedder, load_model
from etdnn.deploy.speed import alternate, clock
from etdnn.embed.extract import check_frontend
from etdnn.errors import UserError
from etdnn.files import write_json, write_text
from etdnn.model.checkpoint import read_subnet, save_subnet
from etdnn.model.latency import machine_name
from etdnn.scoring.backends import Scorer
from etdnn.scoring.embeddings import Embeddings
from etdnn.scoring.metrics import Curve
from etdnn.seeding import numpy_generator

EXAMPLE = Path(__file__).with_name("onnx_example.py")  # not imported: it needs onnxruntime
EXTRA = ("onnx", "onnxruntime", "onnxscript")
CALIBRATION_UTTERANCES = 64
CALIBRATION_FRAMES = 400
MADE = re.compile(r"model(\.wave)?(\.fp16|\.int8)?\.onnx|example\.py|MODEL_CARD\.md|precisions\.json|int8_layers\.txt")
"""Names of the files of a package."""
SETS = ("train", "dev", "test")
ROUNDS = 15


def missing_packages() -> list[str]:
    """Return the packages of the extra `onnx` that are not installed."""
    return [name for name in EXTRA if find_spec(name) is None]


def note_corpus(path: str | Path, title: str, licence: str, data: str | Path | None) -> None:
    """Write into the model file what it was trained on, where that is not what stands there."""
    net, metadata = read_subnet(path)
    corpus: dict[str, Any] = {"title": title, "licence": licence}
    if data is not None:
        folders = {name: Path(data) / name for name in SETS}
        corpus["sets"] = {
            name: list(count_set(folder)) for name, folder in folders.items() if (folder / "utt2spk").is_file()
        }
    if metadata.get("corpus") != corpus:
        save_subnet(path, net, {**metadata, "corpus": corpus})


def calibration_features(data: str | Path, model: Embedder, seed: int = 0) -> list[np.ndarray]:
    """Return features of up to 64 utterances of a data directory, 4 s each at most: a seeded draw."""
    folder = DataDir(data)
    check_frontend(model.metadata["frontend"], folder.frontend, folder.path)
    reader = FeatureReader(folder.path / "feats.scp")
    order = numpy_generator(seed, "int8 calibration").permutation(len(reader))
    return [reader.read(int(row))[:CALIBRATION_FRAMES] for row in order[:CALIBRATION_UTTERANCES]]


def package(
    model_path: str | Path,
    folder: str | Path,
    *,
    precisions: Sequence[str] = ("fp32",),
    data: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Write FOLDER anew: model[.wave][.fp16|.int8].onnx, example.py, MODEL_CARD.md, precisions.json; return the files.

    `data` holds dev (calibrates int8) and test, on whose shortest trial list all precisions are compared. Without the
    extra `onnx` only the card is written, and a line says so. An earlier package stays until the new one is complete;
    UserError for a folder that holds anything else.
    """
    model, folder = load_model(model_path), Path(folder).resolve()
    check_folder(folder)
    rows: list[dict[str, Any]] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as work:
        new = Path(work) / folder.name
        new.mkdir()
        if missing := missing_packages():
            say(f"no ONNX files: {', '.join(missing)} missing; bash tools/install.sh --extras onnx brings them")
        else:
            features = calibration_features(Path(data) / "dev", model) if "int8" in precisions and data else []
            rows = _write_files(model, new, precisions, features, say)
            if not rows:
                raise UserError(f"{folder}: left as it was: no precision of {', '.join(precisions)} is fit to be kept")
            rows = measure(new, rows, model, data)
            write_json(new / "precisions.json", rows)
            if "wave" in _forms(model):
                shutil.copyfile(EXAMPLE, new / "example.py")
        write_text(new / "MODEL_CARD.md", model_card(model.metadata, rows))
        replace_directory(new, folder)
    return rows


def check_folder(folder: Path) -> None:
    """Refuse (UserError) to put a package in the place of other files."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file; name a folder")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    other = next((name for name in there if not MADE.fullmatch(name)), None)
    if other is not None:
        raise UserError(f"{folder}: holds {other}, which is no part of a package; name a new or an empty folder")


def _forms(model: Embedder) -> tuple[str, ...]:
    """Return the forms that a model has."""
    return tuple(form for form in FORMS if form != "wave" or not model.frontend.vad)


def _write_files(
    model: Embedder, folder: Path, precisions: Sequence[str], features: Sequence[np.ndarray], say: Callable
) -> list[dict[str, Any]]:
    """Write every form in every precision; one below fp32 that does too much harm is left out, with a line."""
    exporter, rows = Exporter(model, features), []
    if "wave" not in _forms(model):
        say("no waveform form and no example: the front end has VAD; model.onnx takes the features of voiced frames")
    for precision in precisions:
        made = []
        try:
            for form in _forms(model):
                name = "model" + (".wave" if form == "wave" else "") + ("" if precision == "fp32" else f".{precision}")
                made.append(exporter.write(folder / f"{name}.onnx", form, precision))
        except UserError as error:
            if precision == "fp32":
                raise
            for one in made:
                Path(one.path).unlink()
            say(f"{precision}: left out: {error}")
            continue
        for one in made:
            name = Path(one.path).name
            rows.append({"file": name, "form": one.form, "precision": precision, "bytes": one.bytes})
            far = f"at most {one.largest_difference:.1e}, cosine at least {one.lowest_cosine:.6f}"
            say(f"{name}: {one.bytes / 1e6:.2f} MB; differs from PyTorch by {far}")
        if precision == "int8":
            write_text(folder / "int8_layers.txt", layer_table(exporter.layers) + "\n")
            say(layer_table(exporter.layers))
    return rows


def measure(
    folder: Path, rows: Sequence[Mapping[str, Any]], model: Embedder, data: str | Path | None
) -> list[dict[str, Any]]:
    """Return the rows of the fbank files with `ms` (CPU time of 3 s, one thread) and, with `data`, `cosine` and `eer`.

    Timings alternate. The cosine is to the embeddings of the first precision, the mean over the test utterances.
    """
    rows = [dict(row) for row in rows]
    sessions = {row["precision"]: open_session(folder / row["file"]) for row in rows if row["form"] == "fbank"}
    times = _milliseconds(sessions, model.frontend.dim)
    tested = _tested(sessions, Path(data) / "test", model) if data else {}
    about = f"CPU time of one utterance from features, one thread, onnxruntime {need('onnxruntime').__version__}, "
    about += f"{machine_name()}."
    if tested:
        about += f" {tested.pop('about')}"
    for row in rows:
        if row["form"] == "fbank":
            row |= {"ms": times[row["precision"]], **tested.get(row["precision"], {}), "about": about}
    return rows


def _milliseconds(sessions: Mapping[str, Any], bins: int, frames: int = 300) -> dict[str, float]:
    x = np.random.default_rng(0).standard_normal((1, frames, bins)).astype(np.float32) + 10
    calls = {name: partial(session.run, None, {"x": x}) for name, session in sessions.items()}
    times = alternate(calls, ROUNDS, clock(threads=1))
    return {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}


def _tested(sessions: Mapping[str, Any], test: Path, model: Embedder) -> dict[str, Any]:
    """Return precision -> {cosine, eer in percent} on the shortest trial list of `test`, and `about`, what that was."""
    folder = DataDir(test)
    check_frontend(model.metadata["frontend"], folder.frontend, folder.path)
    names = folder.trial_names()
    if not names:
        raise UserError(f"{test}: no trials_NAME in it; stage 0 makes trial lists")
    name = min(names, key=lambda one: ((test / f"trials_{one}").stat().st_size, one))
    trials, enrolments = folder.trials(name), folder.enrolments(name)
    reader = FeatureReader(test / "feats.scp")
    there = set(reader.keys)
    wanted = {*trials.test, *(part for entry in trials.enrol for part in enrolments.get(entry, [entry]))}
    ids = sorted(wanted & there)
    matrices = {precision: np.empty((len(ids), model.dim), np.float32) for precision in sessions}
    for row, one in enumerate(ids):
        features = [reader.read(reader.index(one))]  # one at a time: a published list is a gigabyte of features
        for precision, session in sessions.items():
            matrices[precision][row] = embed_with(session, features)
    result: dict[str, Any] = {}
    reference = next(iter(matrices.values()))
    for precision, matrix in matrices.items():
        embeddings = Embeddings(ids, matrix)
        scored = Scorer(embeddings, embeddings, ("cosine",), 0).score(trials, enrolments, allow_missing=True)
        scores, target = scored.scores["cosine"], scored.trials.target
        result[precision] = {
            "cosine": 1 - turned(reference, matrix),
            "eer": 100 * Curve.of(scores[target], scores[~target]).eer(),
        }
    result["about"] = f"EER and cosine to {next(iter(sessions))}: test list {name}, {len(scores)} trials, plain cosine."
    return result

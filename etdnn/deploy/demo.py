"""The verification page: exported models, onnxruntime-web and the page's own files in one folder, for any web server.

Everything is computed in the browser: the server, whichever it is, hands out these files and takes none.
"""

import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etdnn.data.outputs import replace_directory
from etdnn.deploy import audio
from etdnn.deploy.export import export_onnx, onnx_metadata
from etdnn.deploy.onnx_tools import open_session
from etdnn.deploy.runtime import load_model
from etdnn.errors import UserError
from etdnn.files import write_json
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import arch_macs, arch_params

RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page takes from onnxruntime-web: interface, loader, operators."""
RUNTIME = Path(__file__).resolve().parents[2] / "tools" / "web"
"""Where tools/install_web.sh puts them."""
MAX_MINUTES = 10
"""Longer recordings are refused by the page: a browser decodes a file whole."""
MAX_BYTES = 256 << 20
LIMITS = {
    "minSeconds": audio.MIN_SECONDS,
    "windowSeconds": audio.WINDOW_SECONDS,
    "wholeSeconds": audio.WHOLE_SECONDS,
    "restSeconds": audio.REST_SECONDS,
    "silentPeak": audio.SILENT_PEAK / audio.INT16_SCALE,
    "maxMinutes": MAX_MINUTES,
    "maxBytes": MAX_BYTES,
}
"""The Python runtime's limits, for the page to keep; peaks on samples within -1..1."""
_PAGE = Path(__file__).parent / "web"
_INDEX = "models.json"
_MADE = {_INDEX, "models", "ort"}


@dataclass(frozen=True)
class PageModel:
    """What the page says of a model: `file` in the folder, `bytes`, sampling `rate` in Hz, counts as text."""

    name: str
    file: str
    bytes: int
    rate: int
    arch: str
    macs: str
    params: str
    threshold: float | None
    origin: str
    hash: str


def experiment_models(expdir: str | Path) -> list[Path]:
    """Return the model files that stage 5 left in an experiment, smallest first; UserError when there are none."""
    found = sorted(Path(expdir).glob("subnet/*/model.safetensors"), key=lambda path: path.stat().st_size)
    if not found:
        raise UserError(f"{expdir}: no subnet/*/model.safetensors in it; stage 5 makes them")
    return found


def check_runtime(folder: str | Path = RUNTIME) -> Path:
    """Return the folder of onnxruntime-web's files; UserError with the command that brings them if one is missing."""
    missing = [name for name in RUNTIME_FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise UserError(
            f"onnxruntime-web is not installed ({Path(folder) / missing[0]} is missing): bash tools/install_web.sh, "
            "or --runtime DIR with the folder dist of its npm package"
        )
    return Path(folder)


def check_target(folder: str | Path) -> None:
    """Refuse (UserError) to put a page where other files are; an earlier page may be replaced."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--static {folder}: a file; name a folder")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    ours = {path.name for path in _PAGE.iterdir()} | _MADE
    if there and not _MADE <= there <= ours:
        raise UserError(f"--static {folder}: holds other files; name a new or an empty folder")


def build_page(
    models: Sequence[str | Path],
    folder: str | Path,
    runtime: str | Path = RUNTIME,
    say: Callable[[str], None] = lambda _text: None,
) -> list[PageModel]:
    """Write the page with `models` (subnet files, or ONNX files of the form "wave") to `folder`; return what it offers.

    The folder appears, or is replaced, when all is in it; `say` is told of each model. UserError for a model that
    cannot be exported, for a missing onnxruntime-web and for a folder that holds other files.
    """
    runtime, folder = check_runtime(runtime), Path(folder).resolve()
    check_target(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "page"
        shutil.copytree(_PAGE, made)
        (made / "ort").mkdir()
        for name in RUNTIME_FILES:
            shutil.copyfile(runtime / name, made / "ort" / name)
        (made / "models").mkdir()
        offered = []
        for model, name in zip(models, page_names(models), strict=True):
            say(f"{name}: {model}")
            offered.append(add_model(Path(model), name, made))
        write_json(made / _INDEX, {"limits": LIMITS, "models": [asdict(model) for model in offered]})
        replace_directory(made, folder)
    return offered


def add_model(path: Path, name: str, page: Path) -> PageModel:
    """Export a subnet file into the page's folder, or copy an exported one; return what the page says of it.

    Exporting takes seconds; a subnet whose export stands beside it, as stage 8 leaves it, gives that one.
    """
    file = f"models/{name}.onnx"
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        shutil.copyfile(path, page / file)
    else:
        model, beside = load_model(path), path.parent / "export" / "model.wave.onnx"
        if beside.is_file() and read_properties(beside) == onnx_metadata(model, "wave"):
            shutil.copyfile(beside, page / file)
        else:
            export_onnx(model, page / file, "wave")
    about = read_about(page / file, path)
    arch = Arch.parse(about["arch"])
    sizes = {"in_feats": about["bins"], "embedding": about["dim"]}
    return PageModel(
        name, file, (page / file).stat().st_size, about["rate"], str(arch), show_count(arch_macs(arch, **sizes)),
        show_count(arch_params(arch, **sizes)), about["threshold"], about["threshold_origin"], about["model"],
    )  # fmt: skip


def read_about(file: Path, named: Path) -> dict[str, Any]:
    """Return what an exported file says of itself; UserError (on `named`) unless it takes waveforms."""
    values = read_properties(file)
    try:
        about = json.loads(values["etdnn"])
        about |= {"rate": int(values["sample_rate"]), "dim": int(values["output_dim"])}
        about["bins"] = about["frontend"]["num_mel_bins"]
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{named}: not an ONNX file of etdnn export") from None
    missing = [name for name in ("form", "arch", "model", "threshold", "threshold_origin") if name not in about]
    if missing:
        raise UserError(f"{named}: its metadata has no '{missing[0]}'; export it again (etdnn export)")
    if about["form"] != "wave":
        raise UserError(f"{named}: takes {about['form']}, the page needs waveforms: etdnn export --form wave")
    return about


def read_properties(file: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file, {} where it is none; UserError without onnxruntime."""
    try:
        return dict(open_session(file).get_modelmeta().custom_metadata_map)
    except UserError:
        raise
    except Exception:  # onnxruntime has no common class for what it makes of a damaged file
        return {}


def page_names(models: Sequence[str | Path]) -> list[str]:
    """Return a name for each model, fit for a file and different from the others'.

    The file's own; the folder's (the budget) in place of "model" in `model.*` and its exports.
    """
    names: list[str] = []
    for path in map(Path.absolute, map(Path, models)):
        name = path.stem.replace(".wave", "")
        if name.split(".")[0] == "model":
            folder = path.parent if path.parent.name != "export" else path.parent.parent
            name = folder.name + name.removeprefix("model")
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "model"
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        names.append(next(one for one in itertools.chain([name], numbered) if one not in names))
    return names

"""The model card: what a network is, what it was made of, what it reached, and what it is not for."""

from collections.abc import Mapping, Sequence
from typing import Any

from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION, arch_macs, arch_params

NOT_STATED = "not stated"
LIMITS = (
    "No anti-spoofing: a recording played back, a synthetic or converted voice is scored like a living one. Do not let "
    "it alone open a door or an account.",
    "A score says how alike two voices sound to this network. It is no proof of identity, and none for a court.",
    "Other languages, ages, rooms, microphones and codecs than those of the data move scores and thresholds: measure "
    "on your own recordings, and set thresholds there (`etdnn calibrate`).",
    "Error rates of groups of speakers (sex, age, accent) differ, and this card does not break them down.",
    "Short speech is worse: bench/durations.py measures how much on your trials; under 0.5 s nothing is embedded.",
    "Embeddings of voices are personal data, biometric where they identify: ask the people, delete on request.",
)


def model_card(metadata: Mapping[str, Any], files: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the card of a subnet file as Markdown; `files` are rows of `package.measure` (file, bytes, ...)."""
    title = (metadata.get("corpus") or {}).get("title")
    sections = [
        f"# Speaker encoder {metadata['arch']}",
        f"A subnet of an EfficientTDNN supernet{f', trained on {title}' if title else ''}: from speech to "
        f"{metadata['embedding']} numbers, whose cosine tells how alike two voices are.",
        "## Network\n\n" + _list(_network(metadata)),
        "## Data\n\n" + _data(metadata),
        "## Results\n\n" + _results(metadata),
        "## Thresholds\n\n" + _thresholds(metadata.get("thresholds") or {}),
        *(["## Files\n\n" + _files(files)] if files else []),
        "## Use\n\n" + _use(metadata, bool(files)),
        "## What it is not for\n\n" + _list(LIMITS),
    ]
    return "\n\n".join(sections) + "\n"


def _network(metadata: Mapping[str, Any]) -> list[str]:
    sizes = {"in_feats": metadata["in_feats"], "embedding": metadata["embedding"]}
    arch = Arch.parse(metadata["arch"])
    front = metadata.get("frontend") or {}
    bins = front.get("num_mel_bins", metadata["in_feats"])
    rate = f"{front['sample_frequency']:g} Hz" if "sample_frequency" in front else NOT_STATED
    return [
        f"Arch `{arch}`: {arch.depth} blocks; widths {', '.join(map(str, arch.widths))}; kernels "
        f"{', '.join(map(str, arch.kernels))}; aggregation {arch.cat}",
        f"{show_count(arch_macs(arch, **sizes))} {CONVENTION}; {show_count(arch_params(arch, **sizes))} parameters",
        f"Front end: {front.get('type', NOT_STATED)}, {bins} log-mel bins at {rate}"
        f"{', of voiced frames only (energy VAD)' if front.get('vad') else ''}; normalisation per "
        f"utterance: {metadata.get('normalisation', NOT_STATED)}",
        f"Batch-norm statistics: {'of this subnet' if metadata['calibrated'] else 'NOT its own: unfit for use'}",
        *([f"Weights (hash): {metadata['weights']}"] if "weights" in metadata else []),
        *([show_alignment(metadata["alignment"])] if metadata.get("alignment") else []),
        *([f"Supernet (hash): {metadata['supernet']}"] if "supernet" in metadata else []),
    ]


def show_alignment(found: Mapping[str, Any] | None) -> str:
    """Return in words what `note_alignment` found."""
    if not found:
        return "Galleries: this model's own (no other subnet of its supernet was compared)"
    rates = "; ".join(
        f"{name}: {100 * eer['across']:.2f} % across, {100 * eer['own']:.2f} and {100 * eer['reference']:.2f} % alone"
        for name, eer in found["eer"].items()
    )
    shared = "shared with other subnets of this supernet that say so" if found["aligned"] else "this model's own"
    return f"Galleries: {shared} (EER on dev with the subnet of hash {found['reference']}: {rates})"


def _data(metadata: Mapping[str, Any]) -> str:
    corpus, training = metadata.get("corpus") or {}, metadata.get("training") or {}
    lines = [
        f"Corpus: {corpus.get('title') or NOT_STATED}",
        f"Licence of the corpus: {corpus.get('licence') or NOT_STATED}",
    ]
    for name, (speakers, utterances, hours) in (corpus.get("sets") or {}).items():
        lines.append(f"{name}: {speakers} speakers, {utterances} utterances, {hours:.1f} h")
    if "source" in training:
        lines.append(f"Training: {training['source']} (file {training.get('file', NOT_STATED)})")
    elif training:
        lines.append(
            f"Training: {training.get('steps', '?')} steps in the last phase, seed {training.get('seed', '?')}"
        )
    return (
        _list(lines)
        + "\n\nSelection, thresholds and calibration use dev speakers, who are in neither training nor test."
    )


def _results(metadata: Mapping[str, Any]) -> str:
    rows = metadata.get("results") or []
    parts = []
    if rows:
        head = "| trials | targets | non-targets | back-end | EER % | 95 % | minDCF(0.01) | 95 % |\n" + "|---" * 8 + "|"
        parts.append("\n".join([head, *(
            f"| {row['trials']} | {row['targets']} | {row['nontargets']} | {row['backend']} | {row['eer']} | "
            f"{_interval(row, 'eer')} | {row['mindcf_0.01']} | {_interval(row, 'mindcf_0.01')} |"
            for row in rows
        )]))  # fmt: skip
        parts.append("Intervals: 95 %, bootstrap over speakers.")
    else:
        parts.append("None measured: stage 7 of the recipe does.")
    if published := metadata.get("published"):
        said = ", ".join(f"{key}: {value}" for key, value in published.items() if key != "file")
        parts.append(f"Published with the checkpoint, not measured here: {said or 'nothing'}.")
    return "\n\n".join(parts)


def _interval(row: Mapping[str, str], name: str) -> str:
    return f"{row[f'{name}_low']} to {row[f'{name}_high']}" if row.get(f"{name}_low") else ""


def _thresholds(known: Mapping[str, Any]) -> str:
    if not known:
        return "None: stage 7 sets them on dev, `etdnn calibrate` on your own recordings."
    lines = ["| scores | from | point | accept from | misses % | false accepts % |", "|---" * 6 + "|"]
    for backend in [name for name in ("own", "cosine") if name in known]:
        fitted = known[backend]
        origin = fitted.get("from") or "dev trials"
        lists = f" ({', '.join(fitted['lists'])}; {fitted['targets']} + {fitted['nontargets']} trials)"
        for name, point in fitted["points"].items():
            lines.append(
                f"| cosine | {origin}{lists} | {name} | {point['threshold']:.4f} | "
                f"{100 * point['miss']:.2f} | {100 * point['false_accept']:.2f} |"
            )
    return "\n".join(lines)


def _files(files: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| file | MB | ms for 3 s | cosine to fp32 | EER % |", "|---" * 5 + "|"]
    for row in files:
        lines.append(
            f"| {row['file']} | {row['bytes'] / 1e6:.2f} | {_number(row.get('ms'), '.2f')} | "
            f"{_number(row.get('cosine'), '.5f')} | {_number(row.get('eer'), '.3f')} |"
        )
    about = next((row["about"] for row in files if row.get("about")), "")
    return "\n".join(lines) + (f"\n\n{about}" if about else "")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _use(metadata: Mapping[str, Any], onnx: bool) -> str:
    rate = (metadata.get("frontend") or {}).get("sample_frequency", 16000)
    code = (
        '```python\nimport etdnn\n\nmodel = etdnn.load_model("model.safetensors")\n'
        'print(model.verify("a.wav", "b.wav"))\n```'
    )
    if not onnx:
        return code
    if (metadata.get("frontend") or {}).get("vad"):
        return code + (
            "\n\nONNX: `model.onnx` takes log-mel features before normalisation (batch, frames, "
            f"{metadata['in_feats']}) of voiced frames only: the VAD, whose options stand in the file's metadata, is "
            "the caller's (`etdnn.load_model` has it). There is no form for waveforms, and sherpa-onnx has no such VAD."
        )
    return code + (
        f"\n\nONNX: `model.onnx` takes log-mel features before normalisation (batch, frames, {metadata['in_feats']}) "
        f"and is read by sherpa-onnx; `model.wave.onnx` takes samples (batch, samples) within -1..1 at {rate:g} Hz; "
        "`example.py` compares two recordings with onnxruntime and NumPy alone."
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)

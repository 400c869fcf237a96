"""A model described in words: for `etdnn info`."""

from collections.abc import Iterator
from typing import Any

from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION, arch_macs, arch_params
from etdnn.model.space import SearchSpace


def describe(facts: dict[str, Any], metadata: dict[str, Any]) -> Iterator[str]:
    """Yield `name: value` lines of a model file; `facts` are file, bytes, hash and stored numbers."""
    yield f"{facts['file']}: {metadata['kind']}, {facts['bytes'] / 1e6:.2f} MB, hash {facts['hash']}"
    if metadata["kind"] == "subnet":
        arch = Arch.parse(metadata["arch"])
        sizes = {"in_feats": metadata["in_feats"], "embedding": metadata["embedding"]}
        yield f"arch: {arch}"
        yield f"MACs: {show_count(arch_macs(arch, **sizes))} ({CONVENTION})"
        yield f"parameters: {show_count(arch_params(arch, **sizes))}; embedding: {metadata['embedding']} numbers"
        measured = "re-estimated" if metadata["calibrated"] else "NOT re-estimated: not fit for use (etdnn derive)"
        yield f"batch-norm statistics: {measured}"
    elif metadata["kind"] == "gallery":
        names = metadata["names"]
        yield f"people: {len(names)}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
        yield f"embedding space: {metadata['embedding_space']}; enrolled with the model of hash {metadata['model']}"
    elif "space" in metadata:
        space = SearchSpace.from_dict(metadata["space"])
        yield f"space: {space.name}, {space.count():,} subnets, {space.smallest} to {space.largest}"
    if frontend := metadata.get("frontend"):
        shown = ", ".join(
            f"{key} {frontend[key]}" for key in ("type", "num_mel_bins", "sample_frequency") if key in frontend
        )
        shown += ", voiced frames only" if frontend.get("vad") else ""
        yield f"front end: {shown}; normalisation: {metadata.get('normalisation')}"
    if corpus := metadata.get("corpus"):
        yield f"corpus: {corpus['title']}; licence: {corpus.get('licence') or 'not stated'}"
    if training := metadata.get("training"):
        # single options of the training stand in --json
        yield f"training: {_short({key: value for key, value in training.items() if '.' not in key})}"
    if published := metadata.get("published"):
        yield f"published with it (not measured here): {_short(published)}"
    for row in metadata.get("results") or []:
        interval = f" ({row['eer_low']} to {row['eer_high']})" if row.get("eer_low") else ""
        rates = f"EER {row['eer']} %{interval}, minDCF(0.01) {row['mindcf_0.01']}"
        yield f"result: {row['trials']}, {row['backend']}: {rates}"
    for backend, fitted in (metadata.get("thresholds") or {}).items():
        points = ", ".join(f"{name} {point['threshold']:.4f}" for name, point in fitted["points"].items())
        yield f"thresholds ({backend}, {fitted['targets']} + {fitted['nontargets']} trials): {points}"


def _short(values: dict[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if not isinstance(value, dict | list)}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in plain.items()
    )

"""Architecture drawings of the chosen subnets, and a map of embeddings."""

from collections import Counter
from pathlib import Path

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.report.drawing import Picture, canvas, colour, file_name, finish, marker
from etdnn.scoring.cosine import length_normalise
from etdnn.scoring.embeddings import read_embeddings

SPEAKERS = 8
EACH = 40


def architecture_pictures(subnets: dict[str, tuple[str, int, int]], title: str) -> list[Picture]:
    """Draw every subnet (budget -> arch text, MACs, parameters): a bar per layer, as high as it has channels.

    The dashed outline is the largest of the subnets shown, to the same scale.
    """
    if not subnets:
        return []
    archs = {name: Arch.parse(text) for name, (text, _, _) in subnets.items()}
    layers = {name: _layers(arch) for name, arch in archs.items()}
    largest = max(subnets, key=lambda name: subnets[name][1])
    with canvas(5.4, 0.4 + 1.9 * len(subnets)) as figure:
        every = figure.subplots(len(subnets), 1, squeeze=False)[:, 0]
        for index, (axes, name) in enumerate(zip(every, subnets, strict=True)):
            _draw_network(axes, layers[name], layers[largest] if name != largest else [], colour(index))
            _, macs, params = subnets[name]
            axes.set_title(f"{name}: {show_count(macs)} MACs, {show_count(params)} parameters", loc="left")
        words = "; ".join(
            f"{name}: stem {arch.widths[0]} channels kernel {arch.kernels[0]}, {arch.depth} blocks with inner widths "
            f"{', '.join(map(str, arch.widths[1:]))} and kernels {', '.join(map(str, arch.kernels[1:]))}, "
            f"aggregation {arch.cat}"
            for name, arch in archs.items()
        )
        return [
            finish(
                figure, "architectures", f"Chosen subnets of {title}", f"Bars per layer of each subnet. {words}.",
                "Height and number: channels; kernel (k), dilation (d). Every block takes in and gives out as many "
                "channels as the stem has; its bar is the width inside. Dashed: the largest network shown.",
            )
        ]  # fmt: skip


def _layers(arch: Arch) -> list[tuple[str, int, str]]:
    """Return (name, channels, text in the bar) of every layer."""
    blocks = [
        (f"block {index}", arch.widths[index], f"k{arch.kernels[index]} d{index + 1}")
        for index in range(1, arch.depth + 1)
    ]
    stem = ("stem", arch.widths[0], f"k{arch.kernels[0]} d1")
    return [stem, *blocks, ("aggregate", arch.cat, "k1")]


def _draw_network(axes, layers: list[tuple[str, int, str]], outline: list[tuple[str, int, str]], paint: str) -> None:
    names = list(dict.fromkeys(name for name, _, _ in [*outline[:-1], *layers[:-1]])) + ["aggregate"]
    top = max(size for _, size, _ in [*layers, *outline])
    for name, size, _ in outline:
        axes.bar(names.index(name), size, width=0.72, fill=False, edgecolor="#9aa1aa", linestyle="--", linewidth=0.8)
    outlines = {name: size for name, size, _ in outline}
    for name, size, text in layers:
        place = names.index(name)
        axes.bar(place, size, width=0.72, color=paint, alpha=0.85)
        inside = size > 0.5 * top
        above = str(size) if inside else f"{size}\n{text}"
        clear = size if inside else max(size, outlines.get(name, 0))  # above the dashed line, too
        axes.text(place, clear + 0.04 * top, above, ha="center", va="bottom", fontsize=9, linespacing=1.1,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
        if inside:
            axes.text(place, size / 2, text, ha="center", va="center", fontsize=9, color="white")
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_yticks([])
    axes.set_ylim(0, 1.3 * top)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def map_pictures(data: Path, experiment: Path, budgets: list[str], title: str) -> list[Picture]:
    """Draw, for the last of `budgets` with test embeddings, those of some speakers on their two principal axes."""
    from etdnn.seeding import numpy_generator

    found = [name for name in budgets if (experiment / "subnet" / name / "embeddings" / "test.scp").is_file()]
    if not found or not (data / "test" / "utt2spk").is_file():
        return []
    budget = found[-1]
    embeddings = read_embeddings(experiment / "subnet" / budget / "embeddings" / "test.scp")
    utt2spk = DataDir(data / "test").utt2spk
    counts = Counter(utt2spk[name] for name in embeddings.ids if name in utt2spk)
    able = sorted(speaker for speaker, count in counts.items() if count >= 3)
    if len(able) < 2:
        return []
    shown = sorted(numpy_generator(0, "embedding map").permutation(able)[:SPEAKERS].tolist())
    rows = {speaker: [row for row, name in enumerate(embeddings.ids) if utt2spk.get(name) == speaker][:EACH]
            for speaker in shown}  # fmt: skip
    points, share = principal_axes(length_normalise(embeddings.matrix[sum(rows.values(), [])]))
    with canvas(5.4, 4.6) as figure:
        axes = figure.subplots()
        start = 0
        for index, (speaker, members) in enumerate(rows.items()):
            part = points[start : start + len(members)]
            start += len(members)
            axes.scatter(*part.T, s=34, color=colour(index), marker=marker(index), alpha=0.8, linewidths=0,
                         label=speaker)  # fmt: skip
        axes.set(xlabel=f"first axis ({100 * share[0]:.0f} % of the variance)",
                 ylabel=f"second axis ({100 * share[1]:.0f} %)")  # fmt: skip
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, handletextpad=0.2, columnspacing=1.0)
        return [
            finish(
                figure, f"map-{file_name(budget)}", f"Embeddings of test speakers, {title}",
                f"Map of {len(points)} utterances of {len(shown)} test speakers, embedded by {budget}; "
                "points of one speaker should lie together.",
                f"Principal component analysis of length-normalised embeddings by {budget}; the axes know nothing of "
                f"who speaks. {len(shown)} of {len(able)} speakers, drawn by chance; two of "
                f"{embeddings.matrix.shape[1]} dimensions, so that clouds may overlap here and not in truth.",
            )
        ]  # fmt: skip


def principal_axes(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates [n, 2] of rows on their first two principal axes, and the axes' shares of the variance.

    Signs are fixed (the largest coefficient of an axis is positive), so that the map is the same everywhere.
    """
    centred = matrix.astype(np.float64) - matrix.mean(axis=0, dtype=np.float64)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return centred @ axes.T, sizes[:2] ** 2 / max(float((sizes**2).sum()), 1e-30)

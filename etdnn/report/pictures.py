"""All pictures of an experiment, as far as its files go."""

from pathlib import Path

from etdnn.files import atomic_path
from etdnn.report.collect import Report
from etdnn.report.drawing import Picture
from etdnn.report.measured import comparable_evaluations, main_backend, read_curves, read_search_runs
from etdnn.report.network_pictures import architecture_pictures, map_pictures
from etdnn.report.score_pictures import det_pictures, histogram_pictures
from etdnn.report.search_pictures import (
    pareto_picture,
    prediction_pictures,
    progress_pictures,
    scored_pareto_pictures,
)
from etdnn.report.training_pictures import training_pictures

SECTIONS = ("results", "search", "networks", "scores", "training")


def draw_all(report: Report, data: Path, *, published: bool = False) -> dict[str, list[Picture]]:
    """Return section -> pictures; what an experiment has no files for is left out.

    `published` adds the published subnets to the pictures of the test lists: for VoxCeleb only. Needs matplotlib.
    """
    experiment, rows, title = Path(report.experiment), report.results, report.title
    backend = main_backend(experiment, rows)
    runs = read_search_runs(experiment)
    evaluations = comparable_evaluations(experiment, runs)
    subnets = {row["budget"]: (row["arch"], int(row["macs"]), int(row["params"])) for row in rows}
    return {
        "results": scored_pareto_pictures(rows, backend, title, published),
        "search": [
            *pareto_picture(evaluations, runs, title),
            *progress_pictures(runs, title),
            *prediction_pictures(experiment, evaluations, title),
        ],
        "networks": [
            *architecture_pictures(subnets, title),
            *map_pictures(data, experiment, list(subnets), title),
        ],
        "scores": [
            *det_pictures(experiment, rows, backend, title),
            *histogram_pictures(data, experiment, rows, backend, title),
        ],
        "training": training_pictures(read_curves(experiment), title),
    }


def write_pictures(folder: Path, pictures: dict[str, list[Picture]]) -> int:
    """Write NAME.svg and NAME.png into `folder`, remove pictures of an earlier report, return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    names = set()
    for picture in (one for section in pictures.values() for one in section):
        for ending, content in (("svg", picture.svg), ("png", picture.png)):
            path = folder / f"{picture.name}.{ending}"
            names.add(path.name)
            with atomic_path(path) as part:
                part.write_bytes(content)
    for path in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        if path.name not in names:
            path.unlink()
    return len(names) // 2

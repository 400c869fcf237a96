"""The HTML report: complete, self-contained, the same twice, and correct where parts of an experiment are missing."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.experiment import PHASES, SPACE, make_experiment

from etdnn.cli import main
from etdnn.files import write_json
from etdnn.report import drawing, measured
from etdnn.report.collect import collect
from etdnn.report.score_pictures import det_pictures
from etdnn.report.search_pictures import lower_front, scored_pareto_pictures
from etdnn.report.training_pictures import smoothed
from etdnn.report.write import write_page
from etdnn.scoring.results import read_results

TITLE = "toy (synthetic) <speech>"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects pictures, links and ids; fails on tags that do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.images, self.addresses, self.ids, self.open, self.titles = [], [], [], [], ""
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.images.append(values)
        self.addresses += [values[key] for key in ("src", "href", "srcset", "action") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "title":
            self.titles += data


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra plots)")
    return make_experiment(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(experiment) -> Path:
    data, folder = experiment
    assert main(["report", "--title", TITLE, str(data), str(folder)]) == 0
    return folder / "report" / "report.html"


def test_page_is_self_contained_and_every_picture_has_words(page):
    text = page.read_text()
    read = Page(text)
    assert TITLE in read.titles
    names = {"pareto-test-main", "pareto-dev", "search-progress", "predicted-measured", "architectures", "map-largest",
             "det-main", "scores-main", "training"}  # fmt: skip
    assert names <= set(read.ids) and len(read.images) == len(names)
    for image in read.images:
        assert len(image["alt"]) > 40
        head, content = image["src"].split(",", 1)
        assert head == "data:image/svg+xml;base64" and b"<svg" in base64.b64decode(content)
    assert all(address.startswith(("data:", "#")) for address in read.addresses)
    assert {address[1:] for address in read.addresses if address.startswith("#")} <= set(read.ids)
    assert "script" not in read.tags and "url(" not in text
    assert not re.search(r"https?://", text)


def test_page_shows_numbers_commands_thresholds_and_who_chose(page, experiment):
    text = page.read_text()
    for row in read_results(experiment[1] / "results.tsv"):
        assert f">{row['eer']}<" in text and f">{row['actdcf_0.01']}<" in text
    assert "python3 -m etdnn score --budget 6M" in text
    assert "bash run.sh --macs-budget &#x27;6M 10M&#x27;" in text
    assert "Decision thresholds, from dev" in text and "false_accept_0.01" in text
    assert all(f">{phase}<" in text for phase in PHASES)
    assert len(re.findall('class="date"', text)) == 1


def test_exported_files_stand_in_a_table(experiment):
    data, folder = experiment
    rows = [{"file": "model.onnx", "form": "fbank", "precision": "fp32", "bytes": 1234567, "ms": 1.5, "cosine": 1.0,
             "eer": 7.25, "about": "CPU time on <this> machine."},
            {"file": "model.wave.onnx", "form": "wave", "precision": "fp32", "bytes": 2345678}]  # fmt: skip
    write_json(folder / "subnet" / "6M" / "export" / "precisions.json", rows)
    text = write_page(collect("toy", data, folder), data, folder / "again", date="2020-01-01").read_text()
    for part in (">1.23<", ">1.50<", ">7.250<", ">model.wave.onnx<", "CPU time on &lt;this&gt; machine."):
        assert part in text


def test_pictures_lie_beside_the_page_and_stale_ones_go(page, experiment):
    folder = page.parent / "pictures"
    names = {path.stem for path in folder.glob("*.svg")}
    assert names == {path.stem for path in folder.glob("*.png")} and len(names) == 9
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    assert not any(b"<dc:date>" in path.read_bytes() for path in folder.glob("*.svg"))
    from etdnn.report.pictures import write_pictures

    copy = page.parent.parent / "elsewhere"
    copy.mkdir()
    (copy / "old.svg").write_text("old")
    (copy / "notes.txt").write_text("kept")
    assert write_pictures(copy, {}) == 0
    assert [path.name for path in copy.iterdir()] == ["notes.txt"]


def test_same_pictures_twice(experiment):
    rows = read_results(experiment[1] / "results.tsv")
    one, two = (det_pictures(experiment[1], rows, "cosine", "t")[0] for _ in range(2))
    assert one == two and one.svg and one.png


@pytest.mark.parametrize(
    ("trials", "published", "marked"), [("vox1_O_cleaned", True, True), ("vox1_O", False, False), ("main", True, False)]
)
def test_published_points_only_on_request_and_on_their_list(experiment, trials, published, marked):
    rows = [row | {"trials": trials} for row in read_results(experiment[1] / "results.tsv")]
    (picture,) = scored_pareto_pictures(rows, "cosine", "t", published)
    assert ("published" in picture.caption) == marked


def test_without_search_dev_results_and_as_norm(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra plots)")
    data, folder = make_experiment(tmp_path, budgets={}, backends=("cosine",))
    scores = folder / "subnet" / "largest" / "scores"
    (scores / "thresholds.json").unlink()
    (scores / "metrics.json").unlink()
    for name in PHASES:
        (folder / name / "train.jsonl").unlink()
    path = write_page(collect("toy", data, folder), data, folder / "report", date="2020-01-01")
    read = Page(path.read_text())
    assert "search" not in read.ids and "training" not in read.ids
    assert {"pareto-test-main", "architectures", "det-main", "scores-main"} <= set(read.ids)
    assert "No thresholds" in path.read_text()


def test_without_matplotlib_tables_stay_and_the_extra_is_named(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("etdnn.report.write.can_draw", lambda: False)
    data, folder = experiment
    path = write_page(collect("toy", data, folder), data, tmp_path, date="2020-01-01")
    said = capsys.readouterr().out.strip().splitlines()
    assert len(said) == 1 and "etdnn[plots]" in said[0]
    text = path.read_text()
    assert "<img" not in text and "etdnn[plots]" in text and "Results on toy" in text


def test_evaluations_of_another_supernet_are_not_mixed_in(experiment):
    runs = measured.read_search_runs(experiment[1])
    rows = measured.comparable_evaluations(experiment[1], runs)
    assert [run.budget for run in runs] == ["6M", "10M"]
    assert {row.supernet for row in rows} == {"s1"} and str(SPACE.largest) not in {
        row.arch for row in rows if row.objective == 99
    }


def test_phases_stand_in_the_order_of_training(experiment):
    assert tuple(curve.phase for curve in measured.read_curves(experiment[1])) == PHASES


def test_backend_of_the_pictures_is_chosen_on_dev(experiment, monkeypatch):
    rows = [{"backend": name, "budget": "x"} for name in ("asnorm", "cosine")]
    for values, expected in (
        ({"asnorm": {"eer": 0.1}, "cosine": {"eer": 0.2}}, "asnorm"),
        ({"asnorm": {"eer": 0.3}, "cosine": {"eer": 0.2}}, "cosine"),
        ({}, "cosine"),
    ):
        monkeypatch.setattr(measured, "read_thresholds", lambda *_, values=values: values)
        assert measured.main_backend(Path(), rows) == expected


def test_front_is_what_no_cheaper_one_beats():
    macs, errors = np.array([3.0, 1, 2, 4, 2]), np.array([2.0, 5, 6, 1, 4])
    assert lower_front(macs, errors).tolist() == [1, 4, 0, 3]


def test_moving_mean_keeps_a_line_and_its_length():
    assert smoothed(np.full(50, 2.0)).tolist() == [2.0] * 50
    assert smoothed(np.arange(200.0))[100] == pytest.approx(100)
    assert len(smoothed(np.array([1.0]))) == 1


def test_broken_journal_and_foreign_scores_are_named(tmp_path, experiment):
    from etdnn.errors import UserError

    (tmp_path / "largest").mkdir()
    (tmp_path / "largest" / "train.jsonl").write_text("not json\n")
    with pytest.raises(UserError, match="train.jsonl"):
        measured.read_curves(tmp_path)
    (tmp_path / "x.scores").write_text("a b 0.5\n")
    with pytest.raises(UserError, match="x.scores:1"):
        measured.read_scores(tmp_path / "x.scores", experiment[0] / "test" / "trials_main")


@pytest.mark.parametrize(("value", "text"), [(204072768, "204M"), (1.5e9, "1.5G"), (2500, "2.5K"), (7, "7")])
def test_short_count(value, text):
    assert drawing.short_count(value) == text

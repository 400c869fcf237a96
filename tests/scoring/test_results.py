"""results.tsv: rows are replaced, sorted, byte-equal whatever the order of the calls, and survive two writers."""

import multiprocessing

import pytest
from helpers.models import save_model

from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.scoring.results import COLUMNS, read_results, show_results, update_results
from etdnn.scoring.stage import supernets_of


def row(budget="204M", macs=200, trials="main", backend="cosine", model="aa", eer="1.000"):
    values = dict.fromkeys(COLUMNS, "0.5000") | {"arch": "1-8-8-1-1-8", "params": "1234"}
    return values | {
        "budget": budget,
        "macs": str(macs),
        "trials": trials,
        "backend": backend,
        "model": model,
        "eer": eer,
    }


def test_rows_are_replaced_not_doubled(tmp_path):
    path = tmp_path / "exp" / "results.tsv"
    update_results(path, [row(eer="1.000"), row(trials="cross")])
    update_results(path, [row(eer="2.000")])
    rows = read_results(path)
    assert [(one["trials"], one["eer"]) for one in rows] == [("cross", "1.000"), ("main", "2.000")]


def test_order_of_calls_leaves_no_trace(tmp_path):
    groups = [[row("571M", 500)], [row("204M", 200), row("204M", 200, "cross")], [row("largest", 900)]]
    for name, order in (("a", groups), ("b", groups[::-1])):
        for rows in order:
            update_results(tmp_path / name, rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [one["budget"] for one in read_results(tmp_path / "a")] == ["204M", "204M", "571M", "largest"]


def test_rows_of_a_network_that_is_gone_are_dropped(tmp_path):
    path = tmp_path / "results.tsv"
    update_results(path, [row(), row(trials="cross"), row("571M", 500, trials="cross")])
    update_results(path, [row(model="bb")])
    assert [(one["budget"], one["trials"]) for one in read_results(path)] == [("204M", "main"), ("571M", "cross")]


def test_rows_of_a_supernet_that_was_trained_anew_are_dropped(tmp_path):
    path = tmp_path / "results.tsv"
    update_results(path, [row() | {"supernet": "old"}, row("571M", 500) | {"supernet": "depth"}])
    update_results(path, [row("1.4G", 1400) | {"supernet": ""}])
    update_results(path, [row("300M", 300) | {"supernet": "new"}], {"new", "depth"})
    assert [(one["budget"], one["supernet"]) for one in read_results(path)] == [
        ("300M", "new"), ("571M", "depth"), ("1.4G", ""),
    ]  # fmt: skip


def test_subnets_of_another_supernet_keep_their_rows(tmp_path):
    """What stage 5 derived is of the supernet beside it or of one that is gone; what lies there without, is not."""
    for name in ("204M", "571M", "theirs"):
        save_model(tmp_path / "subnet" / name / "model.safetensors", supernet=f"of {name}")
        (tmp_path / "subnet" / name / ".derive.stamp").write_text("")
    (tmp_path / "subnet/theirs/.derive.stamp").unlink()
    assert supernets_of(tmp_path) == set()
    (tmp_path / "width2").mkdir()
    (tmp_path / "width2/supernet.safetensors").write_text("weights")
    own = hash_file(tmp_path / "width2/supernet.safetensors")
    assert supernets_of(tmp_path) == {own, "of theirs"}


def test_foreign_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "results.tsv"
    path.write_text("name\teer\nmine\t3\n")
    with pytest.raises(UserError, match="results.tsv:1: columns are not those"):
        update_results(path, [row()])
    assert path.read_text() == "name\teer\nmine\t3\n"
    path.write_text("\t".join(COLUMNS) + "\nmine\t3\n")
    with pytest.raises(UserError, match="results.tsv:2: 2 columns"):
        read_results(path)


def _write(path, budget):
    for number in range(20):
        update_results(path, [row(budget, trials=str(number))])


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "results.tsv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, budget)) for budget in ("204M", "571M")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_results(path)) == 40


def test_table_is_aligned():
    first, second = show_results([row(macs=204072768)]).splitlines()
    assert first.index("MACs") == second.index("204.07M")

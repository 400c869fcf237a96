import contextlib
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import threading

import pytest

from etdnn.report.measured import read_curves
from etdnn.train.journal import Journal


def keep(folder, steps=range(10, 200)):
    journal = Journal(folder, "kernel", 64, active=True)
    journal.begin(steps[0], steps[-1] + 1)
    for step in steps:
        journal.step(step, 1.0 + step, 0.5, 0.1, 0.001)
    journal.measured(200, {"eer": 3.0, "eer_clean": 2.0, "eer_cross": 4.0}, 150, 0.0)
    journal.end()
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_lines_hold_the_mean_of_their_steps(tmp_path, capsys):
    rows = keep(tmp_path)
    assert [row["step"] for row in rows[:3]] == [12, 14, 16], "every hundredth of 200 steps"
    assert rows[0]["loss"] == pytest.approx(1 + 10.5) and rows[1]["loss"] == pytest.approx(1 + 12.5)
    wanted = {"phase", "step", "loss", "accuracy", "rate", "utterances_per_second", "loader_wait"}
    assert wanted == set(rows[0]) and all(row["utterances_per_second"] > 0 for row in rows[:-1])
    assert rows[-1] == {"phase": "kernel", "step": 200, "dev_eer": 3.0, "dev_eer_clean": 2.0, "dev_eer_cross": 4.0,
                        "best_step": 150}  # fmt: skip
    shown = capsys.readouterr().err
    assert "resumes after step 10" in shown and "dev_eer 3.00 %" in shown and "%|" not in shown, "no bar in a log"


def test_a_failed_measurement_is_null_and_resuming_reads_it(tmp_path, capsys):
    (folder := tmp_path / "kernel").mkdir()
    keep(folder)
    journal = Journal(folder, "kernel", 64, active=True)
    journal.begin(200, 400)
    journal.measured(300, {"eer": float("inf"), "eer_clean": float("inf")}, 150, 0.0)
    text = (folder / "train.jsonl").read_text()
    row = json.loads(text.splitlines()[-1], parse_constant=pytest.fail)
    assert row == {"phase": "kernel", "step": 300, "dev_eer": None, "dev_eer_clean": None, "best_step": 150}
    journal.begin(300, 400)
    assert (folder / "train.jsonl").read_text() == text
    assert [curve.phase for curve in read_curves(tmp_path)] == ["kernel"]


def test_speed_counts_neither_less_nor_more_than_the_training(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("etdnn.train.journal.time.monotonic", lambda: clock[0])
    journal = Journal(tmp_path, "kernel", 64, active=True)
    journal.begin(0, 1000)
    for step in range(20):
        clock[0] += 0.5
        journal.step(step, 1.0, 0.5, 0.1, 0.0)
        if step == 14:
            clock[0] += 100
            journal.measured(15, {"eer": 3.0}, 15, 100.0)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["utterances_per_second"] for line in lines if "loss" in line] == [128.0, 128.0]


def test_a_terminal_has_a_bar_with_the_time_left(tmp_path, monkeypatch):
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shown = []

    def read():
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(reading, 4096):
                shown.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        keep(tmp_path)
        monkeypatch.undo()
    reader.join()
    os.close(reading)
    text = b"".join(shown).decode()
    assert "kernel: 100%|" in text and "200/200 [" in text and "phase kernel complete" in text

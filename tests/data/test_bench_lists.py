import json
import subprocess
import sys


def test_every_step_runs_on_a_two_hundredth_of_the_size(tmp_path, repository):
    figures = tmp_path / "figures.json"
    command = [sys.executable, repository / "bench" / "lists.py", "--quick", "--json", figures]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27300 utterances in train_all" in done.stdout
    rows = json.loads(figures.read_text())
    assert len(rows) == 11 and all(row["cpu"] > 0 and 0 < row["mib"] < 512 for row in rows)

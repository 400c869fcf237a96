import re
import subprocess
import sys


def test_all_ways_are_measured_in_tiny_form(repository, data_root):
    command = [sys.executable, repository / "bench" / "augmentation.py", "--quick", "--data", data_root]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    change = float(re.search(r"log power by ([\d.]+)", done.stdout)[1])
    coded, mel = map(float, re.search(r"CM2 ([\d.]+), mel domain ([\d.]+)", done.stdout).groups())
    assert coded < 1e-3 < mel < 0.3 * change
    rows = {name: figures for name, *figures in map(str.split, done.stdout.splitlines()[-5:])}
    assert set(rows) == {"none", "stored", "mel", "waveform", "waveform+rir"}
    assert len({row[2] for row in rows.values()}) == 1, "equal steps"
    assert float(rows["stored"][1]) > float(rows["none"][1])
    assert float(rows["waveform+rir"][1]) > float(rows["waveform"][1]) > 0

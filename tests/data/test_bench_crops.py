import re
import subprocess
import sys


def test_every_claim_is_printed(tmp_path, repository):
    command = [sys.executable, repository / "bench" / "crops.py", "--quick", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"all formats: (\S+)", done.stdout)[1]) <= 2e-5
    for name in ("fm", "cm2", "cm3", "cm"):
        assert re.search(rf"^{name} .*x +[\d.]+x$", done.stdout, re.M), done.stdout
        assert f"{name} page cache emptied" in done.stdout
    before, after = map(int, re.search(r"crops: (\d+) and (\d+) MB", done.stdout).groups())
    assert after < before + 20
    assert "index of 100000 utterances" in done.stdout

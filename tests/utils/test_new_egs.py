import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY, run_script


@pytest.fixture
def egs() -> Iterator[Path]:
    """A folder of egs/ that is not there yet, and is gone afterwards."""
    path = REPOSITORY / "egs" / f"test-{uuid.uuid4().hex[:8]}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_new_egs_links_the_stages_and_copies_only_what_is_to_edit(egs: Path) -> None:
    result = run_script("new_egs.sh", f"egs/{egs.name}/", cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in egs.iterdir()) == ["cmd.sh", "conf", "local", "path.sh", "run.sh", "utils"]
    for name in ("local", "utils"):
        assert (egs / name).is_symlink()
        assert (egs / name).readlink() == Path(f"../../{name}")
        assert (egs / name).resolve() == REPOSITORY / name
    own = REPOSITORY / "egs" / "own"
    names = [path.name for path in (own / "conf").iterdir()]
    assert sorted(path.name for path in (egs / "conf").iterdir()) == sorted(names)
    assert f"expdir=exp/{egs.name}\n" in (egs / "run.sh").read_text()
    words = subprocess.run(["bash", egs / "run.sh", "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--stage" in words.stdout
    again = run_script("new_egs.sh", egs)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one folder"),
        (["egs/a", "egs/b"], "expected one folder"),
        (["mycorpus"], "is not a folder of"),
        (["egs/a b"], "a folder's name has letters"),
        (["--from", "nothing", "egs/a"], "there is no egs/nothing"),
        (["README.md/a"], "cannot make the parent folder"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    result = run_script("new_egs.sh", *words, cwd=REPOSITORY)
    assert result.returncode == (2 if message == "expected one folder" else 1)
    assert message in result.stderr
    assert not (REPOSITORY / "mycorpus").exists()

"""An egs whose stage scripts only note how they were called and touch what they leave: the driver, alone and fast."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ("prepare_toy", "make_features", "train_phase", "search", "derive", "embed", "score", "export", "report")

STAGE = """#!/usr/bin/env bash
set -euo pipefail
name=$(basename "$0" .sh)
printf '%s' "$name" >>calls; printf '\\t%s' "$@" >>calls; echo >>calls
[ "$(cat fail 2>/dev/null)" != "$name" ] || {
  echo "$name: error: as asked" >&2
  exit "$(cat status 2>/dev/null || echo 3)"
}
last=${*: -1}
case $name in
  prepare_toy) mkdir -p data/train; touch data/train/wav.scp ;;
  make_features) mkdir -p data/train_all data/dev; touch data/{train_all,dev}/feats.scp ;;
  train_phase) phase=${*: -3:1}; mkdir -p "$last/$phase"; touch "$last/$phase/supernet.safetensors" "$last/supernet" ;;
  search) mkdir -p "$last"/search/{204M,571M,params-900K}; touch "$last"/search/{204M,571M,params-900K}/arch.txt ;;
  derive) exp=${*: -2:1}; mkdir -p "$exp/subnet/$last"; touch "$exp/subnet/$last/model.safetensors" ;;
  embed) exp=${*: -2:1}; mkdir -p "$exp/subnet/$last/embeddings"; touch "$exp/subnet/$last/embeddings/test.scp" ;;
  score) exp=${*: -2:1}; touch "$exp/results.tsv" ;;
esac
"""

RUN = """#!/usr/bin/env bash
set -euo pipefail
EGS=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
TITLE="toy"
PREPARE=prepare_toy.sh
PREPARE_OPTIONS=(corpus trials)
PREPARE_PATHS=(corpus)
PREPARE_HELP="  --corpus DIR          the toy corpus"
defaults() {
  expdir=exp/toy
  nj=2
  space_config=paper_coarse
  DEFAULT_MACS_BUDGET="204M 571M"
  corpus=
}
. "$EGS/local/stages.sh"
"""


class FakeEgs:
    """The folder `egs/toy` below `root`, with a driver that is the real one and stages that are not."""

    def __init__(self, root: Path):
        self.root, self.folder = root, root / "egs" / "toy"
        local = root / "local"
        local.mkdir(parents=True)
        for name in STAGES:
            (local / f"{name}.sh").write_text(STAGE)
            (local / f"{name}.sh").chmod(0o755)
        for name in ("stages.sh", "lib"):
            (local / name).symlink_to(REPOSITORY / "local" / name)
        self.folder.mkdir(parents=True)
        (self.folder / "local").symlink_to("../../local")
        (self.folder / "utils").symlink_to(REPOSITORY / "utils")
        for name in ("path.sh", "cmd.sh"):
            (self.folder / name).symlink_to(REPOSITORY / "egs" / "mini" / name)
        (self.folder / "conf").mkdir()
        phases = "".join(f"- {{name: {name}, epochs: 1}}\n" for name in ("largest", "kernel", "depth"))
        (self.folder / "conf" / "train.yaml").write_text(f"phases:\n{phases}")
        (self.folder / "conf" / "search.yaml").write_text("samples: 10\n")
        (self.folder / "run.sh").write_text(RUN)

    def run(
        self, *options: str, cwd: Path | None = None, script: str | Path = "run.sh", through: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess:
        """Call run.sh with `options`; `through` are words before the call."""
        command = [*through, "bash", str(script), *options]
        return subprocess.run(command, cwd=cwd or self.folder, capture_output=True, text=True)

    def start(self, output: Path, *options: str) -> subprocess.Popen:
        """Start run.sh with `options`, its output to a file, and go on."""
        with output.open("w") as stream:
            return subprocess.Popen(["bash", "run.sh", *options], cwd=self.folder, stdout=stream, stderr=stream)

    def calls(self) -> list[list[str]]:
        """Return the calls of the stages since the last question: name and words."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        path.unlink()
        return [line.split("\t") for line in lines]

"""Stage 6 in parallel jobs: each writes its share of a set's embeddings, a last call joins them."""

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.datadir import DataDir, read_lines
from etdnn.errors import UsageError, UserError
from etdnn.files import hash_file, hash_text, write_json, write_text
from etdnn.scoring.embeddings import weights_hash, write_embeddings
from etdnn.seeding import numpy_generator


def parse_job(text: str) -> tuple[int, int]:
    """Read `2/4` as (2, 4); UsageError unless 1 <= job <= jobs."""
    job, slash, jobs = text.partition("/")
    if not (slash and job.isdigit() and jobs.isdigit() and 1 <= int(job) <= int(jobs)):
        raise UsageError(f"--job '{text}': write it as 2/4, the second of four")
    return int(job), int(jobs)


def listed_ids(path: str | Path, data: DataDir) -> list[str]:
    """Return the first column of list `path` in its order; UserError for an id that the data does not have."""
    ids = []
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split()
        if not columns or columns[0] not in data.utt2spk:
            raise UserError(f"{path}:{number}: '{line[:60]}' is no utterance of {data.path}")
        ids.append(columns[0])
    if len(set(ids)) != len(ids):
        raise UserError(f"{path}: some utterances are listed twice")
    return ids


def cohort_ids(data: DataDir, kind: str, size: int, seed: int) -> list[str]:
    """Draw the cohort from training utterances that are no copies, sorted; the same for the same seed.

    `utterances`: `size` of them, all alike; `speakers`: up to `size` of each speaker, whose means will be the cohort.
    UserError for an unknown kind or a cohort of fewer than 2.
    """
    if kind not in ("utterances", "speakers"):
        raise UsageError(f"--cohort '{kind}' is neither utterances nor speakers")
    copies = data.utt2aug.keys() | {copy for copy, original in data.utt2uniq.items() if copy != original}
    originals = [name for name in data.utt2spk if name not in copies]
    generator = numpy_generator(seed, "cohort", kind)
    order = [originals[i] for i in generator.permutation(len(originals))]
    if kind == "utterances":
        chosen = order[:size]
    else:
        taken: dict[str, int] = {}
        chosen = []
        for name in order:
            speaker = data.utt2spk[name]
            if taken.get(speaker, 0) < size:
                taken[speaker] = taken.get(speaker, 0) + 1
                chosen.append(name)
    if len(chosen) < 2:
        raise UserError(f"{data.path}: a cohort needs at least 2 utterances without copies, found {len(chosen)}")
    return sorted(chosen)


def _part(out: Path, job: int) -> Path:
    return out.with_name(f"{out.name}.{job}")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def extract_job(
    model: str | Path,
    data: DataDir,
    ids: Sequence[str],
    out: str | Path,
    *,
    job: int = 1,
    jobs: int = 1,
    device: str = "auto",
    force: bool = False,
) -> str:
    """Write OUT.JOB.ark and OUT.JOB.scp with this job's share of the embeddings of `ids`; return what was done.

    OUT.JOB.json says from which weights, features and ids; where it agrees, a finished job is not done again.
    UserError for an uncalibrated model, another front end, or an utterance without features.
    """
    # imported here, because joining needs no torch
    from etdnn.data.ark import FeatureReader
    from etdnn.embed.extract import check_calibrated, check_frontend, embed_utterances, pick_device
    from etdnn.model.checkpoint import read_subnet

    net, metadata = read_subnet(model)
    check_calibrated(net, model)
    check_frontend(metadata.get("frontend"), data.frontend, data.path)
    part = _part(Path(out).absolute(), job)
    share = list(ids)[len(ids) * (job - 1) // jobs : len(ids) * job // jobs]
    provenance = {
        "model": weights_hash(net),
        "features": _features_hash(data.path),
        "normalisation": metadata["normalisation"],
        "ids": hash_text("\n".join(share)),
        "count": len(share),
        "all": hash_text("\n".join(ids)),
    }
    scp, ark, note = (_beside(part, ending) for ending in ("scp", "ark", "json"))
    if not force and scp.is_file() and ark.is_file() and _read_note(note) == provenance:
        return f"{len(share)} embeddings are there already"
    note.unlink(missing_ok=True)
    reader = FeatureReader(data.path / "feats.scp")
    indices = np.array([reader.index(name) for name in share], np.int64)
    net.to(pick_device(device))
    matrix = embed_utterances(net, reader, indices, metadata["normalisation"])
    write_embeddings(ark, scp, share, matrix)
    write_json(note, provenance)
    return f"{len(share)} embeddings written"


def join_jobs(out: str | Path, jobs: int) -> int:
    """Join the scp files of all jobs into OUT.scp, sorted; return how many embeddings there are.

    UserError that names the job which is missing, unfinished, or made from something else than the others.
    """
    out = Path(out).absolute()
    lines: list[str] = []
    first: dict[str, Any] | None = None
    for job in range(1, jobs + 1):
        part = _part(out, job)
        note = _read_note(_beside(part, "json"))
        if note is None or not _beside(part, "scp").is_file():
            raise UserError(f"{part}.scp: job {job} of {jobs} has not finished; run it again (its log says why)")
        first = first or note
        if any(note[key] != first[key] for key in ("model", "features", "all")):
            raise UserError(f"{part}.scp: job {job} is of another model, data or list than job 1; run it again")
        found = read_lines(_beside(part, "scp"))
        if len(found) != note["count"]:
            raise UserError(f"{part}.scp: {len(found)} embeddings, expected {note['count']}; run job {job} again")
        lines += found
    write_text(_beside(out, "scp"), "".join(f"{line}\n" for line in sorted(lines)))
    for old in out.parent.glob(f"{glob.escape(out.name)}.*.*"):
        number = old.name.removeprefix(f"{out.name}.").partition(".")[0]
        if number.isdigit() and int(number) > jobs:  # of an earlier run with more jobs
            old.unlink()
    return len(lines)


def _features_hash(directory: Path) -> str:
    """Return a hash of where the features are and of what stage 1 made them of, if it did."""
    made = directory / ".feats.made"
    listed = hash_file(directory / "feats.scp")
    return hash_text(listed + hash_file(made)) if made.is_file() else listed


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

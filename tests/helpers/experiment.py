"""An experiment as the stages leave it, without training: random embeddings, scored and written by the real code."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from etdnn.data.datadir import DataDir
from etdnn.data.trials import Trials, write_trials
from etdnn.files import hash_file, write_json
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs, arch_params
from etdnn.model.space import SearchSpace
from etdnn.scoring.backends import Scorer
from etdnn.scoring.embeddings import Embeddings, write_embeddings
from etdnn.scoring.evaluate import (
    dev_thresholds,
    list_metrics,
    list_speakers,
    result_row,
    score_set,
    write_set,
    write_thresholds,
)
from etdnn.scoring.results import update_results
from etdnn.search.population import ArchRows, archs_to_rows, sample_stratified
from etdnn.search.predictor import fit_predictor
from etdnn.search.records import HEADER, Evaluation, Protocol, to_line
from etdnn.train.journal import Journal

SPACE = SearchSpace("toy", (1, 2, 3), (8, 16, 24, 32), (1, 3, 5), (24, 48, 72, 96))
PROTOCOLS = {"measure": Protocol("s1", "c1", "d1"), "confirm": Protocol("s1", "c2", "d1")}
PHASES = ("largest", "kernel", "depth", "width1")
DIMENSIONS = 24


def make_data(data: Path, *, speakers: int = 8, each: int = 10) -> None:
    """Write data/{dev,test} with trial lists and data/train, without any audio."""
    for name, lists in (("train", ()), ("dev", ("clean", "cross")), ("test", ("main",))):
        folder = data / name
        folder.mkdir(parents=True)
        ids = [f"{name}{speaker}-{number}" for speaker in range(speakers) for number in range(each)]
        speaker_of = {utterance: utterance.split("-")[0] for utterance in ids}
        (folder / "utt2spk").write_text("".join(f"{key} {speaker_of[key]}\n" for key in sorted(ids)))
        (folder / "utt2dur").write_text("".join(f"{key} 3.00\n" for key in sorted(ids)))
        pairs = [(one, two) for place, one in enumerate(ids) for two in ids[place + 1 :]]
        target = np.array([speaker_of[one] == speaker_of[two] for one, two in pairs])
        for one in lists:
            write_trials(folder / f"trials_{one}", Trials(*map(list, zip(*pairs, strict=True)), target))


def make_subnet(data: Path, experiment: Path, budget: str, arch: Arch, *, noise: float, backends=("cosine", "asnorm")):
    """Write scores, thresholds, metrics, embeddings and results of one budget; more `noise`, more errors."""
    out, embeddings = experiment / "subnet" / budget / "scores", {}
    rng = np.random.default_rng(int(1000 * noise))
    for name in ("dev", "test", "train"):
        utt2spk = DataDir(data / name).utt2spk
        centres = {speaker: rng.standard_normal(DIMENSIONS) for speaker in sorted(set(utt2spk.values()))}
        matrix = np.array([centres[speaker] + noise * rng.standard_normal(DIMENSIONS) for speaker in utt2spk.values()])
        embeddings[name] = Embeddings(list(utt2spk), matrix.astype(np.float32))
    folder = experiment / "subnet" / budget / "embeddings"
    folder.mkdir(parents=True)
    write_embeddings(folder / "test.1.ark", folder / "test.scp", embeddings["test"].ids, embeddings["test"].matrix)
    scored = {
        side: score_set(DataDir(data / side), Scorer(embeddings[side], embeddings["train"], backends, 20), lists, False)
        for side, lists in (("dev", ["clean", "cross"]), ("test", ["main"]))
    }
    fitted = dev_thresholds(scored["dev"], backends, 0.01)
    speakers = list_speakers(DataDir(data / "test"), "main", scored["test"]["main"])
    metrics = list_metrics(scored["test"]["main"], backends, fitted, speakers, seed=0, replicates=20)
    write_set(out, "dev", scored["dev"], None)
    write_set(out, "test", scored["test"], fitted)
    write_thresholds(out, fitted, 20, 80)
    write_json(out / "metrics.json", {"main": metrics})
    log = experiment / "subnet" / budget / "log" / "score.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"# python3 -m etdnn score --budget {budget}\n# Started at some time\n")
    model = {"arch": str(arch), "macs": arch_macs(arch), "params": arch_params(arch), "weights": f"hash-{budget}"}
    rows = [result_row(budget, model, "main", backend, values) for backend, values in metrics.items()]
    update_results(experiment / "results.tsv", rows)


def make_search(experiment: Path, budgets: dict[str, int]) -> dict[str, Arch]:
    """Write evaluations, the kept predictor and a folder per budget (name -> MACs); return the chosen archs."""
    rng = np.random.default_rng(1)
    archs = list(dict.fromkeys(ArchRows(sample_stratified(SPACE, 60, rng))))
    macs = np.array([arch_macs(arch) for arch in archs])
    errors = 4 + 30 * (macs / macs.min()) ** -0.5 + rng.normal(0, 0.7, len(archs))
    folder = experiment / "search"
    folder.mkdir(parents=True)
    lines = [_evaluation(arch, error, PROTOCOLS["measure"]) for arch, error in zip(archs, errors, strict=True)]
    stale = _evaluation(SPACE.largest, 99.0, Protocol("another", "c1", "d1"))
    (folder / "evaluations.tsv").write_text(HEADER + "".join(map(to_line, [*lines, stale])))
    fit_predictor("gaussian_process", SPACE, archs_to_rows(archs, SPACE), errors, seed=0).save(
        folder / "predictor.a.npz"
    )
    chosen = {}
    for name, limit in budgets.items():
        own = folder / name
        own.mkdir()
        best = min((row for row in lines if row.macs <= limit), key=lambda row: row.objective)
        chosen[name] = Arch.parse(best.arch)
        (own / "arch.txt").write_text(f"{best.arch}\nmacs {best.macs}\n")
        (own / "summary.txt").write_text(f"Budget {name}: arch {best.arch}\n")
        (own / "pareto.tsv").write_text(
            "arch\tmacs\tparams\tobjective\tsmooth\teer_clean\teer_cross\n"
            f"{best.arch}\t{best.macs}\t{best.params}\t{best.objective}\t1\t1\t1\n"
        )
        (own / "progress.tsv").write_text(
            "arch\tmacs\tobjective\tfits\tsource\n"
            + "".join(f"{row.arch}\t{row.macs}\t{row.objective}\t{int(row.macs <= limit)}\t"
                      f"{'sample' if place < 40 else 'search'}\n" for place, row in enumerate(lines))
        )  # fmt: skip
        protocols = {task: asdict(protocol) for task, protocol in PROTOCOLS.items()}
        (own / "search.yaml").write_text(yaml.safe_dump({"budget": name, "protocols": protocols}))
    return chosen


def _evaluation(arch: Arch, error: float, protocol: Protocol) -> Evaluation:
    costs = {"macs": arch_macs(arch), "params": arch_params(arch)}
    return Evaluation(str(arch), **costs, status="ok", objective=error, smooth=error, eer_clean=error - 1,
                      eer_cross=error + 1, mindcf_clean=0.5, mindcf_cross=0.6, **asdict(protocol))  # fmt: skip


def make_training(experiment: Path, steps: int = 120) -> None:
    """Write the journals of four phases with the real writer."""
    before = ""
    for place, phase in enumerate(PHASES):
        folder = experiment / phase
        folder.mkdir(parents=True)
        journal = Journal(folder, phase, 16, active=True, seconds=1e9)
        journal.begin(0, steps)
        for step in range(steps):
            fall = np.exp(-(step + steps * place) / steps)
            journal.step(step, 6 * fall + 0.3 * np.cos(step), 1 - fall, 1e-3 * (1 - step / steps) + 1e-6, 0.01)
        (folder / "supernet.safetensors").write_text(phase)
        write_json(folder / "training.json", {"init": before})
        before = hash_file(folder / "supernet.safetensors")
    (experiment / "supernet").symlink_to(PHASES[-1])


def make_experiment(root: Path, *, budgets: dict[str, int] | None = None, backends=("cosine", "asnorm")) -> tuple:
    """Return (data, experiment) of a run with two searched budgets and the largest network, or with `budgets`."""
    data, experiment = root / "data", root / "exp" / "toy"
    budgets = {"6M": 6_000_000, "10M": 10_000_000} if budgets is None else budgets
    make_data(data)
    make_training(experiment)
    chosen = make_search(experiment, budgets) if budgets else {}
    for place, (name, arch) in enumerate([*chosen.items(), ("largest", SPACE.largest)]):
        make_subnet(data, experiment, name, arch, noise=2.0 - 0.3 * place, backends=backends)
    (experiment / "commands.tsv").write_text("2020-01-01 00:00:00\tabc1234\tbash run.sh --macs-budget '6M 10M'\n")
    return data, experiment

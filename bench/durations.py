"""EER when the test side is short, and how far embeddings in windows are from those of the whole recording.

python3 bench/durations.py --model MODEL --data data/test [--trials NAME] [--seconds 1 2 3 5] [--limit 2000]

Enrolment is whole, the test side is the middle of its utterance cut to so many seconds (shorter ones stay as they are:
the table says how many). For the second table recordings of a speaker are joined to more than 60 s, where the
runtime takes windows; beside the cosine to the whole stands what another recording of the same speaker reaches.
"""

import argparse
from collections.abc import Iterable, Iterator

import numpy as np

from etdnn.data.audio import read_audio
from etdnn.data.datadir import DataDir
from etdnn.data.segments import SegmentReader
from etdnn.data.trials import Trials
from etdnn.deploy.audio import WHOLE_SECONDS
from etdnn.deploy.runtime import Embedder, load_model
from etdnn.embed.extract import embed_features
from etdnn.features.fbank import compute_fbank
from etdnn.scoring.metrics import Curve
from etdnn.seeding import numpy_generator


def middle(wave: np.ndarray, samples: int) -> np.ndarray:
    start = max(0, (len(wave) - samples) // 2)
    return wave[start : start + samples]


def read_waves(data: DataDir, names: Iterable[str], rate: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance, its samples): whole files, or parts of them where the directory has segments."""
    parts = SegmentReader(rate)
    for name in names:
        segment = data.segments.get(name)
        yield (
            name,
            parts.read(data.wav_scp[segment.recording], segment) if segment else read_audio(data.wav_scp[name], rate),
        )


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def chosen(data: DataDir, name: str, limit: int) -> Trials:
    """Return the trials between up to `limit` utterances of a list, drawn by chance."""
    trials = data.trials(name)
    names = sorted({*trials.enrol, *trials.test} & (data.segments or data.wav_scp).keys())
    kept = set(numpy_generator(0, "durations").permutation(names)[:limit].tolist())
    return trials.kept(np.array([a in kept and b in kept for a, b in zip(trials.enrol, trials.test, strict=True)]))


def error(trials: Trials, enrol: dict[str, np.ndarray], test: dict[str, np.ndarray]) -> float:
    scores = np.array([enrol[a] @ test[b] for a, b in zip(trials.enrol, trials.test, strict=True)])
    return 100 * Curve.of(scores[trials.target], scores[~trials.target]).eer()


def short_tests(model: Embedder, data: DataDir, name: str, seconds: list[float], limit: int) -> None:
    trials = chosen(data, name, limit)
    waves = dict(read_waves(data, sorted({*trials.enrol, *trials.test}), model.rate))
    whole = dict(zip(waves, unit(model.embed_prepared(list(waves.values()))), strict=True))
    tests = sorted(set(trials.test))
    lengths = [len(waves[one]) / model.rate for one in tests]
    print(f"{len(trials)} trials of list {name}; test utterances: {len(tests)} of {np.median(lengths):.1f} s (median)")
    print(f"{'test speech':>12}{'EER %':>9}{'of full':>9}{'shorter than that':>19}")
    full = error(trials, whole, whole)
    for limit_ in seconds:
        size = round(limit_ * model.rate)
        cut = dict(zip(tests, unit(model.embed_prepared([middle(waves[one], size) for one in tests])), strict=True))
        short = sum(length < limit_ for length in lengths)
        found = error(trials, whole, cut)
        print(f"{limit_:>10g} s{found:9.3f}{found / full if full else float('nan'):8.2f}x{short:>19}")
    print(f"{'whole':>12}{full:9.3f}{1:8.2f}x")


def windows(model: Embedder, data: DataDir, speakers: int, seconds: float) -> None:
    size = round(seconds * model.rate)
    rows = []
    for utterances in data.spk2utt.values():
        joined: list[np.ndarray] = []
        for _, wave in read_waves(data, utterances, model.rate):
            joined.append(wave)
            if sum(map(len, joined)) >= 2 * size:
                break
        wave = np.concatenate(joined)
        if len(wave) < size + 10 * model.rate:
            continue
        first, second = wave[:size], wave[size : 2 * size]
        extraction = model.extract(first.astype(np.float64) / 32768, model.rate)
        features = [compute_fbank(part, model.frontend) for part in (first, second)]
        whole = unit(embed_features(model.net, features, model.metadata["normalisation"]))
        rows.append((float(unit(extraction.embedding) @ whole[0]), float(whole[1] @ whole[0]), extraction.windows))
        if len(rows) == speakers:
            break
    if not rows:
        print(f"no speaker has {seconds + 10:g} s of speech: windows are not measured")
        return
    same, other, count = (np.array(column) for column in zip(*rows, strict=True))
    print(f"\n{len(rows)} recordings of {seconds:g} s, joined from utterances, in {count.max()} windows:")
    print(f"cosine to the embedding of the whole: mean {same.mean():.4f}, lowest {same.min():.4f}")
    print(
        f"cosine of other speech of the same speaker (10 s or more): mean {other.mean():.4f}, lowest {other.min():.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="data directory with wav.scp and trials")
    parser.add_argument("--trials", help="list (default: the first)")
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--limit", type=int, default=2000, help="utterances at most (default 2000)")
    parser.add_argument("--speakers", type=int, default=20, help="recordings for the windows (default 20)")
    parser.add_argument("--long", type=float, default=WHOLE_SECONDS + 10, help="their length in s (default 70)")
    args = parser.parse_args()
    model, data = load_model(args.model), DataDir(args.data)
    short_tests(model, data, args.trials or data.trial_names()[0], args.seconds, args.limit)
    windows(model, data, args.speakers, args.long)


if __name__ == "__main__":
    main()

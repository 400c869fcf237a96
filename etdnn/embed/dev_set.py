"""The dev set as evaluations see it: crops of its utterances or all of them, trial lists, cosine scores of a net."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.extract import FixedCrops, WholeUtterances, embed_crops
from etdnn.errors import UserError
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.seeding import numpy_generator

LISTS = ("clean", "cross")
"""The dev trial lists; their mean EER is what is minimised."""
HELD_BYTES = 4 << 30
"""What together takes more is read anew for every network: crops of 300 frames of VoxCeleb2's test part (3.5 GB) are
held, those of Vox1-E (14 GB) and its whole utterances (38 GB) are not."""


@dataclass(frozen=True)
class TrialList:
    """Trials as rows of the dev embeddings, with the speakers of both sides as numbers (for the bootstrap)."""

    enrol: np.ndarray
    test: np.ndarray
    target: np.ndarray
    enrol_speaker: np.ndarray
    test_speaker: np.ndarray


@dataclass(frozen=True)
class DevSet:
    """What is embedded of each of `utterances`, in memory up to `HELD_BYTES`, and the trial lists by name.

    `inputs` are pairs (places, tensor (n, in_feats, frames)): fixed crops in blocks, `crops_each` adjacent ones per
    utterance, or whole utterances by length; `places` say where their embeddings belong.
    """

    inputs: Iterable[tuple[np.ndarray, Tensor]]
    utterances: int
    crops_each: int
    trials: dict[str, TrialList]

    @classmethod
    def load(
        cls,
        dev: DataDir,
        normalisation: str,
        *,
        frames: int,
        crops: int,
        lists: Sequence[str] = LISTS,
        speakers: int = 0,
        seed: int = 0,
    ) -> "DevSet":
        """Read `crops` crops of `frames` frames (0: all) of every utterance of the trial `lists` of `dev`.

        UserError where features are missing or lists do not serve (see `read_trial_lists`).
        """
        names, trials = read_trial_lists(dev, lists, speakers, seed)
        reader = FeatureReader(dev.path / "feats.scp")
        where = {name: index for index, name in enumerate(reader.keys)}
        missing = [name for name in names if name not in where]
        if missing:
            raise UserError(f"{dev.path}/feats.scp: no features of '{missing[0]}' and {len(missing) - 1} more that "
                            "stand in its trials; stage 1 makes them")  # fmt: skip
        chosen = np.array([where[name] for name in names])
        if frames:
            inputs = FixedCrops(reader, chosen, normalisation, frames, crops)
        else:
            inputs, crops = WholeUtterances(reader, chosen, normalisation), 1
        return cls(list(inputs) if inputs.bytes <= HELD_BYTES else inputs, len(names), crops, trials)

    def to(self, device: str | torch.device) -> "DevSet":
        """Return the same with what is held on `device`, so that it is not copied there again for every network."""
        if not isinstance(self.inputs, list):
            return self
        return replace(self, inputs=[(places, tensor.to(device)) for places, tensor in self.inputs])

    def scores(self, net: Tdnn) -> dict[str, np.ndarray] | None:
        """Return the cosine scores of each list by a calibrated network, None when embeddings are not finite."""
        vectors = np.empty((self.utterances * self.crops_each, net.embedding.out_features), np.float32)
        for places, tensor in self.inputs:
            vectors[places] = embed_crops(net, tensor)
        if not np.isfinite(vectors).all() or not np.abs(vectors).max(axis=1).all():
            return None
        vectors = length_normalise(vectors)
        if self.crops_each > 1:
            vectors = length_normalise(vectors.reshape(-1, self.crops_each, vectors.shape[1]).mean(axis=1))
        return {name: cosine_scores(vectors, vectors, part.enrol, part.test) for name, part in self.trials.items()}


def read_trial_lists(
    dev: DataDir, names: Sequence[str], speakers: int = 0, seed: int = 0
) -> tuple[list[str], dict[str, TrialList]]:
    """Return the utterances that the trial lists `names` of `dev` name, and the lists as rows of them.

    With `speakers` above 0 only trials among that many speakers, drawn by `seed`, are kept. UserError when fewer than
    two speakers or only one class of trials is left.
    """
    lists = {name: dev.trials(name) for name in names}
    utt2spk = dev.utt2spk
    for name, part in lists.items():
        unknown = next((utterance for utterance in (*part.enrol, *part.test) if utterance not in utt2spk), None)
        if unknown is not None:
            raise UserError(f"{dev.path}/trials_{name}: '{unknown}' is not in {dev.path}/utt2spk")
    everyone = sorted({utt2spk[utterance] for part in lists.values() for utterance in (*part.enrol, *part.test)})
    if len(everyone) < 2:
        raise UserError(f"{dev.path}: its trials name one speaker only; at least 2 speakers are needed")
    number = {speaker: index for index, speaker in enumerate(everyone)}
    kept = set(everyone)
    if 0 < speakers < len(everyone):
        kept = set(numpy_generator(seed, "dev speakers").permutation(everyone)[:speakers].tolist())
    used: set[str] = set()
    for name, part in lists.items():
        keep = np.array([utt2spk[a] in kept and utt2spk[b] in kept for a, b in zip(part.enrol, part.test, strict=True)])
        lists[name] = part = part.kept(keep)
        if part.target.all() or not part.target.any():
            counts = f"{int(part.target.sum())} target and {int((~part.target).sum())} nontarget trials"
            raise UserError(f"{dev.path}/trials_{name}: {counts} are left; both kinds are needed")
        used |= {*part.enrol, *part.test}
    order = sorted(used)
    row = {name: index for index, name in enumerate(order)}
    result = {}
    for name, part in lists.items():
        indexed = index_trials(part.enrol, part.test, row, row)
        sides = [np.array([number[utt2spk[one]] for one in side]) for side in (part.enrol, part.test)]
        result[name] = TrialList(indexed.enrol, indexed.test, part.target, *sides)
    return order, result

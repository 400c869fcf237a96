"""How training speech is augmented: the plan of stored copies (conf/augment.yaml), and what is done to crops anew."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from etdnn.features.augment import ADDITIVE, EFFECTS
from etdnn.settings import load_settings

_MIXABLE = tuple(effect for effect in EFFECTS if effect != "speed")


@dataclass(frozen=True)
class Additive:
    """SNR range in dB (drawn uniformly) and range of the number of sources of one kind of noise."""

    snr: list[float] = field(default_factory=lambda: [0.0, 15.0])
    sources: list[int] = field(default_factory=lambda: [1, 1])

    def __post_init__(self) -> None:
        if len(self.snr) != 2 or self.snr[0] > self.snr[1]:
            raise ValueError(f"snr: {self.snr} is not [lowest, highest]")
        if len(self.sources) != 2 or not 1 <= self.sources[0] <= self.sources[1]:
            raise ValueError(f"sources: {self.sources} is not [fewest, most], at least 1")


@dataclass(frozen=True)
class CopySet:
    """One copy of a share of the utterances; what is done to each is drawn from `mixture` (weights by effects).

    Effects of a mixture are joined by `+`: `{noise: 2, reverb+babble: 1}`. With `of_speed_copies` the speed-perturbed
    speakers get this copy too.
    """

    name: str
    mixture: dict[str, float]
    share: float = 1.0
    of_speed_copies: bool = False

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isalnum() or letter in "_." for letter in self.name):
            raise ValueError(f"name: '{self.name}' becomes part of ids: letters, digits, _ and . only")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: {self.share} is not above 0 and at most 1")
        if not self.mixture or min(self.mixture.values()) <= 0:
            raise ValueError(f"mixture: {self.mixture} needs weights above 0")
        for effects in self.mixture:
            for effect in effects.split("+"):
                if effect not in _MIXABLE:
                    raise ValueError(f"mixture: '{effect}' is not one of {', '.join(_MIXABLE)}")


@dataclass(frozen=True)
class AdditiveKinds:
    """How the kinds of noise are drawn; with `average_sources` several sources are averaged, not summed (published)."""

    noise: Additive = field(default_factory=Additive)
    music: Additive = field(default_factory=lambda: Additive([5.0, 15.0]))
    babble: Additive = field(default_factory=lambda: Additive([13.0, 20.0], [3, 7]))
    average_sources: bool = False

    def additive(self, effect: str) -> Additive:
        """Return the settings of an additive effect."""
        return {"noise": self.noise, "music": self.music, "babble": self.babble}[effect]


@dataclass(frozen=True)
class Plan(AdditiveKinds):
    """All copies: speed factors (each makes a new speaker of every speaker) and sets of copies of the same speakers.

    With `store_noise` the noises get features too, for noise that training mixes into its crops (mel_noise).
    """

    speed_factors: list[float] = field(default_factory=list)
    copies: list[CopySet] = field(default_factory=list)
    tempo_factors: list[float] = field(default_factory=lambda: [0.8, 0.9, 1.1, 1.2])
    store_noise: bool = False

    def __post_init__(self) -> None:
        for factor in (*self.speed_factors, *self.tempo_factors):
            if not 0.5 <= factor <= 2 or factor == 1:
                raise ValueError(f"speed and tempo factors lie between 0.5 and 2 and are not 1, found {factor}")
        names = [copy.name for copy in self.copies]
        if len(set(names)) < len(names) or len(set(self.speed_factors)) < len(self.speed_factors):
            raise ValueError("two copies with the same name, or a speed factor twice")

    def materials(self) -> set[str]:
        """Return the kinds of audio that the plan draws from: noise, music, babble, reverb."""
        effects = {effect for copy in self.copies for kind in copy.mixture for effect in kind.split("+")}
        return effects & {*ADDITIVE, "reverb"}


@dataclass(frozen=True)
class MelNoise(AdditiveKinds):
    """`mel_noise` of the training configuration: which share of the crops gets noise, of which kinds (weights).

    Crops of stored copies that have noise already are left alone. Sources are drawn with replacement.
    """

    probability: float = 0.0
    kinds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ADDITIVE, 1.0))

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not between 0 and 1")
        if unknown := self.kinds.keys() - set(ADDITIVE):
            raise ValueError(f"kinds: '{min(unknown)}' is not one of {', '.join(ADDITIVE)}")
        if not self.kinds or min(self.kinds.values()) <= 0:
            raise ValueError("kinds: weights above 0 are needed")


@dataclass(frozen=True)
class SpecAugment:
    """`spec_augment` of the training configuration: what is masked in a crop, filled with 0; 0 switches off.

    One mask of up to `bins` mel bins and one of up to `frames` frames.
    """

    bins: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        if min(self.bins, self.frames) < 0:
            raise ValueError("bins >= 0 and frames >= 0 are needed")


@dataclass(frozen=True)
class Waveform(AdditiveKinds):
    """`waveform` of the training configuration: crops are read from audio, and a share of them is augmented anew.

    What is done to a crop is drawn from `mixture` (weights by effects, as in the plan of copies: noise, music, babble,
    reverb, joined by `+`). `workers`: processes that read for each rank; 0: its own loader thread.
    """

    probability: float = 0.0
    mixture: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*ADDITIVE, "reverb"), 1.0))
    workers: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.workers < 0:
            raise ValueError("probability between 0 and 1 and workers >= 0 are needed")
        for effect in (effect for effects in self.mixture for effect in effects.split("+")):
            if effect not in (*ADDITIVE, "reverb"):
                raise ValueError(f"mixture: '{effect}' is not one of {', '.join((*ADDITIVE, 'reverb'))}")
        self.plan()

    def __bool__(self) -> bool:
        return self.probability > 0

    def plan(self) -> Plan:
        """Return the plan of one copy that this is; what is drawn of it for an utterance is drawn for a crop."""
        mixture = dict(sorted(self.mixture.items()))  # the order in which it is written does not change what is drawn
        copy = CopySet("waveform", mixture, share=self.probability or 1.0)
        return Plan(self.noise, self.music, self.babble, self.average_sources, copies=[copy])

    def lasting(self) -> dict[str, Any]:
        """Return what crops depend on, as JSON-ready values; {} where none is read from audio."""
        return {key: value for key, value in asdict(self).items() if key != "workers"} if self else {}


def read_plan(path: str | Path) -> Plan:
    """Read a plan from YAML; unknown keys, wrong types and values out of range are a UserError."""
    return load_settings(Plan, path)

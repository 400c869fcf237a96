"""The training noises as a data directory, so that stage 1 makes features of them like of any other set."""

import shutil
from collections.abc import Callable
from pathlib import Path

from etdnn.data.audio import AudioInfo, probe
from etdnn.data.datadir import write_data_dir
from etdnn.data.noises import read_noises
from etdnn.errors import UserError
from etdnn.features.augment import ADDITIVE


def make_noise_set(noise: Path | None, target: Path, say: Callable[[str], None] = print) -> int:
    """Write the noises, music and babble of folder `noise` as data directory `target`; return their number.

    The "speaker" of a noise is its kind. Features that are there stay (stage 1 sees whether they are of these files).
    None takes the directory away. UserError for a folder without noises and for ids that stand for two files.
    """
    if noise is None:
        if target.exists():
            shutil.rmtree(target)
        return 0
    kinds: dict[str, str] = {}
    paths: dict[str, str] = {}
    for kind, files in read_noises(noise, ADDITIVE).items():
        for key, path in files.items():
            if key in paths:
                raise UserError(f"{noise}/{kind}.scp: id '{key}' stands in another list of {noise} too")
            kinds[key], paths[key] = kind, path
    if not paths:
        raise UserError(
            f"{noise}: no noise.scp, music.scp or babble.scp with files in it, which 'store_noise: true' of the plan "
            "asks for (give noises to stage 0, or take it out of the plan)"
        )
    found = dict(zip(paths, probe(list(paths.values())), strict=True))
    for key, info in found.items():
        if not isinstance(info, AudioInfo):
            raise UserError(f"{paths[key]}: {info} (run stage 0 again)")
    seconds = {key: info.seconds for key, info in found.items()}
    write_data_dir(target, {"wav.scp": paths, "utt2spk": kinds, "utt2dur": seconds})
    say(f"{target}: {len(paths)} noises, {sum(seconds.values()) / 3600:.2f} h, get features too (store_noise)")
    return len(paths)

"""Look-alikes of the VoxCeleb releases: their folder forms, file names and list formats."""

import soundfile
from helpers.m4a import m4a_bytes
from helpers.recordings import tone

SESSIONS = ("-5wTgD_fYl0", "21Uxsk56VDQ")  # their names look like YouTube's: with - and _ anywhere


def write_release(root, *, first, speakers=4, sessions=2, utterances=2, suffix=".wav", waves=None):
    """Write root/idNNNNN/SESSION/NNNNN.wav or .m4a (real recordings where `waves` has some for the speaker)."""
    for number in range(speakers):
        for session in range(sessions):
            folder = root / f"id{first + number:05d}" / SESSIONS[session]
            folder.mkdir(parents=True)
            for utterance in range(utterances):
                wave = tone(first + number, 10 * session + utterance)
                if waves:
                    wave = waves[number % len(waves)][session * utterances + utterance]
                path = folder / f"{utterance + 1:05d}{suffix}"
                if suffix == ".m4a":
                    path.write_bytes(m4a_bytes(wave))
                else:
                    soundfile.write(path, wave, 16000)


def write_lists(folder, root, ends="\n"):
    """Write the three cleaned lists over the files below `root`, in the published form and names."""
    names = sorted(str(path.relative_to(root)) for path in root.glob("id*/*/*.wav"))
    rows = [f"{int(a.split('/')[0] == b.split('/')[0])} {a} {b}" for a in names for b in names if a < b]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("veri_test2.txt", "list_test_all2.txt", "list_test_hard2.txt"):
        (folder / name).write_bytes((ends.join(rows) + ends).encode())

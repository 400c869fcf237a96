import os

import pytest

from etdnn.cli import main
from etdnn.data.audio_state import audio_state
from etdnn.data.datadir import write_table


@pytest.fixture
def audio(tmp_path):
    """Files a to d: one plain, one behind a pipe, one noise of a copy, one that nothing names."""
    files = {name: tmp_path / f"{name}.wav" for name in "abcd"}
    for path in files.values():
        path.write_bytes(b"audio")
        os.utime(path, (1e9, 1e9))
    pipe = f"ffmpeg -nostdin -i '{files['b']}' -f wav - |"
    write_table(tmp_path / "data/wav.scp", {"u1": files["a"], "u2": pipe, "u3": files["a"]})
    write_table(tmp_path / "data/augment.scp", {"n": files["c"]})
    return files


def change_size(path):
    path.write_bytes(b"other audio")
    os.utime(path, (1e9, 1e9))


def change_content(path):
    path.write_bytes(b"voice")


@pytest.mark.parametrize("change", [change_size, change_content, os.unlink])
@pytest.mark.parametrize(("name", "seen"), [("a", True), ("b", True), ("c", True), ("d", False)])
def test_changes_of_audio_are_seen(tmp_path, audio, name, seen, change):
    before = audio_state(tmp_path / "data")
    assert audio_state(tmp_path / "data") == before and len(before) == 16
    change(audio[name])
    assert (audio_state(tmp_path / "data") != before) == seen


def test_a_tab_may_stand_behind_the_id(tmp_path, audio):
    path = tmp_path / "data/wav.scp"
    blanks = audio_state(tmp_path / "data")
    path.write_text("".join("\t".join(line.split(" ", 1)) for line in path.read_text().splitlines(keepends=True)))
    assert audio_state(tmp_path / "data") == blanks


def test_fractions_of_seconds_and_the_folder_do_not_count(tmp_path, audio, capsys):
    before = audio_state(tmp_path / "data")
    os.utime(audio["a"], ns=(10**18 + 5, 10**18 + 999))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert main(["audio-state", str(tmp_path / "elsewhere")]) == 0
    assert capsys.readouterr().out == before + "\n"
    assert main(["audio-state", str(tmp_path / "nothing")]) == 1

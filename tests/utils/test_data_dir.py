import json
import shutil
from pathlib import Path

import pytest
from helpers.data_dirs import keys, read_files, run_script, write_data_dir, write_rows

SPEAKERS = {"ann": 5, "bob": 3, "cy": 4}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "data", SPEAKERS)
    return tmp_path / "data"


def replace_line(path: Path, number: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    path.write_text("".join(f"{line}\n" for line in lines))


def test_valid_directory(data: Path) -> None:
    result = run_script("validate_data_dir.sh", data)
    assert result.returncode == 0
    assert "12 utterances, 3 speakers" in result.stderr


def test_missing_files_and_kaldis_options(data: Path) -> None:
    (data / "feats.scp").unlink()
    result = run_script("validate_data_dir.sh", data)
    assert (result.returncode, "feats.scp: no such file (--no-feats" in result.stderr) == (1, True)
    assert run_script("validate_data_dir.sh", "--no-feats", "--no-text", data).returncode == 0
    (data / "wav.scp").unlink()
    assert run_script("validate_data_dir.sh", "--no_feats", data).returncode == 1
    assert run_script("validate_data_dir.sh", "--no-feats", "--no-wav", data).returncode == 0


@pytest.mark.parametrize(
    ("name", "number", "text", "message"),
    [
        ("utt2spk", 2, "ann-s0-0001", "expected 2 columns, found: ann-s0-0001"),
        ("utt2spk", 2, "ann-s0-0001 ann x", "expected 2 columns"),
        ("utt2spk", 2, "", "expected 2 columns, found: an empty line"),
        ("utt2spk", 3, "ann-s0-0000 ann", "the id ann-s0-0000 is there twice|not sorted"),
        ("utt2spk", 2, "ann-s0-0002 ann\r", "a carriage return"),
        ("utt2spk", 5, "aaa-1 aaa", "not sorted: aaa-1 comes after"),
        ("utt2spk", 2, "ann-s0-0002 aaa", "sorted by utterance but not by speaker"),
        ("utt2spk", 5, "ann-s1-0003 bob", "spk2utt:1: does not agree with utt2spk for the speaker ann"),
        ("spk2utt", 2, "bob bob-s0-0000", "does not agree with utt2spk for the speaker bob"),
        ("spk2utt", 2, "bill bob-s0-0000", "does not agree with utt2spk for the speaker bill|not sorted"),
        ("wav.scp", 3, "ann-s0-0004", "expected an id and a value"),
        ("wav.scp", 3, "ann-s0-0005 a.wav", "ann-s0-0005 is not in utt2spk (1 such lines)"),
        ("wav.scp", 3, "ann-s0-0004 ~/a.wav", "~ is not expanded"),
        ("feats.scp", 3, "ann-s0-0005 a.ark:1", "ann-s0-0005 is not in utt2spk"),
        ("utt2dur", 4, "ann-s1-0001 0.0", "expected seconds above zero, found: 0.0"),
        ("utt2dur", 4, "ann-s1-0001 nan", "expected seconds above zero, found: nan"),
        ("utt2num_frames", 4, "ann-s1-0001 12.5", "expected a whole number of frames above zero"),
        ("utt2session", 4, "ann-s1-0001 a b", "expected 2 columns"),
    ],
)
def test_faults_are_named_with_file_and_line(data: Path, name: str, number: int, text: str, message: str) -> None:
    replace_line(data / name, number, text)
    result = run_script("validate_data_dir.sh", data)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert any(part in result.stderr for part in message.split("|")), result.stderr
    if not message.startswith("spk2utt"):
        assert result.stderr.startswith(f"validate_data_dir.sh: {data}/{name}:{number}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "utt2spk").write_bytes(b"a\xff b\n"), "utt2spk:1: not UTF-8 text"),
        (lambda data: (data / "utt2spk").write_bytes(b"a a\nb"), "utt2spk:2: the last line has no end"),
        (lambda data: (data / "utt2spk").write_bytes(b""), "utt2spk: no utterances"),
        (lambda data: (data / "utt2spk").unlink(), "utt2spk: no such file"),
        (lambda data: (data / "spk2utt").unlink(), "spk2utt: no such file"),
        (lambda data: (data / "frontend.json").write_text("{"), "frontend.json: not JSON"),
        (lambda data: shutil.rmtree(data), "no such directory"),
        (lambda data: write_rows(data / "utt2aug", {"ann-s0-0000": "noise=n1@5"}), "utt2aug:1: n1 is not in augment"),
        (lambda data: write_rows(data / "utt2aug", {"ann-s0-0000": "noise"}), "utt2aug:1: expected key=value"),
        (lambda data: write_rows(data / "utt2uniq", {"x": "y"}), "utt2uniq:1: x is not in utt2spk"),
        (lambda data: (data / "trials_a").write_text("ann-s0-0000 bob-s0-0000 0\n"), "trials_a:1: expected ENROL TEST"),
        (lambda data: (data / "trials_a").write_text("ann-s0-0000 x target\n"), "trials_a:1: x is not in utt2spk"),
        (lambda data: (data / "trials_a").write_text("m bob-s0-0000 target\n"), "trials_a:1: m is not in utt2spk"),
        (lambda data: (data / "enrol_a").write_text("m ann-s0-0000 q\n"), "enrol_a:1: q of the model m is not in utt"),
    ],
)
def test_faults_across_files(data: Path, change, message: str) -> None:
    change(data)
    result = run_script("validate_data_dir.sh", data)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_trials_by_enrolled_models_and_recipes_are_valid(data: Path) -> None:
    (data / "enrol_a").write_text("m1 ann-s0-0000 ann-s0-0002\n")
    (data / "trials_a").write_text("m1 bob-s0-0000 nontarget\nm1 ann-s1-0001 target\n")
    write_rows(data / "utt2aug", {"ann-s0-0000": "reverb=r1 babble=n1,n2@13.5 speed=1.1"})
    write_rows(data / "augment.scp", {"r1": "r.wav", "n1": "n.wav", "n2": "o.wav"})
    assert run_script("validate_data_dir.sh", data).returncode == 0


def test_fix_says_what_it_drops_and_why(data: Path) -> None:
    before = read_files(data)
    lines = (data / "utt2spk").read_text().splitlines()
    (data / "utt2spk").write_text("".join(f"{line}\n" for line in [*reversed(lines), lines[0]]))
    replace_line(data / "utt2dur", 1, "ann-s0-0000 0")
    replace_line(data / "feats.scp", 2, "stranger a.ark:1")
    (data / "trials_a").write_text("ann-s0-0000 bob-s0-0000 nontarget\nann-s0-0004 bob-s0-0000 nontarget\n")
    damaged = read_files(data)
    result = run_script("fix_data_dir.sh", data)
    assert result.returncode == 0
    for text in (
        "utt2dur: dropped 1 malformed lines, first line 1",
        "utt2spk: dropped 1 repeated lines, first line 13",
        "utt2spk: dropped 1 utterances that are not in utt2dur, first ann-s0-0000",
        "utt2spk: dropped 1 utterances that are not in feats.scp, first ann-s0-0002",
        "trials_a: dropped 1 lines",
        "kept 10 of 12 utterances",
    ):
        assert text in result.stderr
    assert run_script("validate_data_dir.sh", data).returncode == 0
    kept = [line for line in before["utt2spk"].splitlines() if not line.startswith(("ann-s0-0000", "ann-s0-0002"))]
    assert (data / "utt2spk").read_text().splitlines() == kept
    assert (data / "trials_a").read_text() == "ann-s0-0004 bob-s0-0000 nontarget\n"
    assert (data / ".backup/utt2spk").read_text() == damaged["utt2spk"]
    again = read_files(data)
    assert "nothing to change" in run_script("fix_data_dir.sh", data).stderr
    assert read_files(data) == again


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("utt2spk", "ann-s0-0002", "utt2spk:2: expected UTTERANCE SPEAKER, found: ann-s0-0002"),
        ("utt2spk", "ann-s0-0000 bob", "utt2spk:2: ann-s0-0000 has another value than before: bob"),
        ("wav.scp", "ann-s0-0000 other.wav", "wav.scp:2: ann-s0-0000 has another value than before"),
    ],
)
def test_fix_refuses_what_it_cannot_know(data: Path, name: str, line: str, message: str) -> None:
    replace_line(data / name, 2, line)
    before = read_files(data)
    result = run_script("fix_data_dir.sh", data)
    assert result.returncode == 1
    assert f"fix_data_dir.sh: {data}/{message}" in result.stderr
    assert read_files(data) == before
    assert not (data / ".backup").exists()


def test_fix_leaves_a_directory_without_common_utterances_alone(data: Path) -> None:
    write_rows(data / "feats.scp", {"x": "a.ark:1"})
    before = read_files(data)
    result = run_script("fix_data_dir.sh", data)
    assert result.returncode == 1
    assert "no utterance is in all of" in result.stderr
    assert read_files(data) == before


def test_segments(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_data_dir(data, {"ann": 4}, feats=False)
    utterances = keys(data / "utt2spk")
    write_rows(
        data / "segments", {key: f"rec{index // 2} {index}.0 {index + 1}.5" for index, key in enumerate(utterances)}
    )
    write_rows(data / "wav.scp", {"rec0": "sox a |", "rec1": "b.wav", "rec2": "c.wav"})
    assert run_script("subset_data_dir.sh", "--first", data, 2, tmp_path / "half").returncode == 0
    assert (tmp_path / "half/wav.scp").read_text() == "rec0 sox a |\n"
    assert "wav.scp:3: no segment is of rec2" in run_script("validate_data_dir.sh", "--no-feats", data).stderr
    assert run_script("fix_data_dir.sh", data).returncode == 0
    assert run_script("validate_data_dir.sh", "--no-feats", data).returncode == 0
    assert run_script("split_data.sh", "--per-utt", data, 2).stdout == "2\n"
    for number, entry in enumerate(("rec0 sox a |\n", "rec1 b.wav\n")):
        assert (data / f"split2utt/{number + 1}/wav.scp").read_text() == entry
        assert keys(data / f"split2utt/{number + 1}/segments") == utterances[2 * number : 2 * number + 2]
    assert run_script("copy_data_dir.sh", "--utt-suffix", "-x", data, tmp_path / "copy").returncode == 0
    assert run_script("combine_data.sh", tmp_path / "both", data, tmp_path / "copy").returncode == 0
    assert run_script("validate_data_dir.sh", "--no-feats", tmp_path / "both").returncode == 0
    assert len(keys(tmp_path / "both/segments")) == 8 and keys(tmp_path / "both/wav.scp") == ["rec0", "rec1"]
    replace_line(data / "segments", 2, f"{utterances[1]} rec0 3.0 1.0")
    result = run_script("validate_data_dir.sh", "--no-feats", data)
    assert "segments:2: expected 0 <= start < end (seconds), found: 3.0 1.0" in result.stderr
    replace_line(data / "segments", 2, f"{utterances[1]} rec9 1.0 3.0")
    assert (
        "segments:2: the recording rec9 is not in wav.scp"
        in run_script("validate_data_dir.sh", "--no-feats", data).stderr
    )
    assert run_script("fix_data_dir.sh", data).returncode == 0
    assert len(keys(data / "utt2spk")) == 3
    assert keys(data / "wav.scp") == ["rec0", "rec1"]


def test_frontend_json_is_kept_as_it_is(data: Path, tmp_path: Path) -> None:
    run_script("subset_data_dir.sh", data, 3, tmp_path / "part")
    assert json.loads((tmp_path / "part/frontend.json").read_text()) == {"key": "abc"}

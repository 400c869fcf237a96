"""Splitting, choosing, copying and merging: what belongs together stays together and nothing is lost or doubled."""

from pathlib import Path

import pytest
from helpers.data_dirs import keys, read_files, run_script, write_data_dir, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

SPEAKERS = {"ann": 5, "bob": 3, "cy": 4}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "data", SPEAKERS)
    return tmp_path / "data"


def ok(name: str, *words: object) -> str:
    result = run_script(name, *words)
    assert result.returncode == 0, result.stderr
    return result.stderr


def refused(name: str, *words: object) -> str:
    result = run_script(name, *words)
    assert result.returncode == (2 if "--help" in result.stderr else 1), result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize("options", [[], ["--per-utt"]])
@settings(max_examples=5, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), number=st.integers(1, 12))
def test_parts_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, options: list[str], sizes: list[int], number: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    data = folder / "data"
    write_data_dir(data, {f"spk{index}": size for index, size in enumerate(sizes)})
    result = run_script("split_data.sh", *options, data, number)
    made = min(number, sum(sizes) if options else len(sizes))
    assert (result.returncode, result.stdout) == (0, f"{made}\n")
    assert ("warning" in result.stderr) == (made < number)
    parts = [data / f"split{made}{'utt' if options else ''}" / str(part) for part in range(1, made + 1)]
    speakers = [keys(part / "spk2utt") for part in parts]
    assert all(speakers)
    if not options:
        assert sorted(sum(speakers, [])) == keys(data / "spk2utt")
    assert sum((keys(part / "utt2spk") for part in parts), []) == keys(data / "utt2spk")
    sums = [len(keys(part / "utt2spk")) for part in parts]
    assert max(sums) - min(sums) <= (1 if options else 2 * max(sizes))
    ok("combine_data.sh", folder / "again", *parts)
    assert read_files(folder / "again") == read_files(data)


def test_split_again_replaces_what_was_there(data: Path) -> None:
    assert run_script("split_data.sh", data, 2).stdout == "2\n"
    (data / "split2/1/old").write_text("")
    assert run_script("split_data.sh", data, 2).stdout == "2\n"
    assert not (data / "split2/1/old").exists()
    assert (data / "split2/2/frontend.json").exists()
    assert sorted(path.name for path in data.glob("*split*")) == ["split2"]


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_split_refuses_numbers(data: Path, number: str) -> None:
    assert "NUMBER" in refused("split_data.sh", data, number)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--first", 2], ["ann-s0-0000", "ann-s0-0002"]),
        (["--last", 2], ["cy-s1-0001", "cy-s1-0003"]),
        (["--shortest", 3], ["ann-s0-0000", "ann-s0-0002", "ann-s0-0004"]),
        ([4], ["ann-s0-0000", "ann-s1-0001", "bob-s0-0002", "cy-s0-0002"]),
        (["--per-spk", 1], ["ann-s0-0000", "bob-s0-0000", "cy-s0-0000"]),
    ],
)
def test_subsets(data: Path, tmp_path: Path, words: list, expected: list[str]) -> None:
    ok("subset_data_dir.sh", *words[:-1], data, words[-1], tmp_path / "part")
    ok("validate_data_dir.sh", tmp_path / "part")
    for name in ("utt2spk", "wav.scp", "feats.scp", "utt2dur", "utt2session", "utt2num_frames"):
        whole = (data / name).read_text().splitlines()
        assert (tmp_path / "part" / name).read_text().splitlines() == [x for x in whole if x.split()[0] in expected]


def test_shortest_falls_back_on_durations(data: Path, tmp_path: Path) -> None:
    (data / "utt2num_frames").unlink()
    durations = dict(line.split() for line in (data / "utt2dur").read_text().splitlines())
    ok("subset_data_dir.sh", "--shortest", data, 3, tmp_path / "part")
    chosen = keys(tmp_path / "part/utt2spk")
    assert max(float(durations[key]) for key in chosen) <= min(
        float(value) for key, value in durations.items() if key not in chosen
    )
    (data / "utt2dur").unlink()
    assert "--shortest needs utt2num_frames or utt2dur" in refused(
        "subset_data_dir.sh", "--shortest", data, 3, tmp_path / "other"
    )


def test_speakers_are_whole_and_seeded(data: Path, tmp_path: Path) -> None:
    seen = set()
    for seed in range(6):
        ok("subset_data_dir.sh", "--speakers", "--seed", seed, data, 4, tmp_path / f"a{seed}")
        ok("subset_data_dir.sh", "--speakers", "--seed", seed, data, 4, tmp_path / f"b{seed}")
        chosen = read_files(tmp_path / f"a{seed}")
        assert chosen == read_files(tmp_path / f"b{seed}")
        whole = (data / "spk2utt").read_text().splitlines()
        assert set(chosen["spk2utt"].splitlines()) <= set(whole)
        assert len(chosen["utt2spk"].splitlines()) >= 4
        seen.add(chosen["spk2utt"])
    assert len(seen) > 1


def test_lists_choose_speakers_or_utterances(data: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("cy\nann extra words\nnobody\n")
    message = ok("subset_data_dir.sh", "--spk-list", tmp_path / "list", data, tmp_path / "a")
    assert "1 of 3 speakers" in message and "as nobody" in message
    assert keys(tmp_path / "a/spk2utt") == ["ann", "cy"]
    ok("subset_data_dir.sh", "--utt_list", data / "utt2spk", data, tmp_path / "b")
    assert read_files(tmp_path / "b") == read_files(data)
    (tmp_path / "list").write_text("nobody\n")
    assert "lists nothing" in refused("subset_data_dir.sh", "--spk-list", tmp_path / "list", data, tmp_path / "c")
    assert not (tmp_path / "c/utt2spk").exists()


def test_subset_keeps_trials_whose_utterances_it_has(data: Path, tmp_path: Path) -> None:
    (data / "enrol_a").write_text("m ann-s0-0000 bob-s0-0000\nn bob-s0-0000\n")
    (data / "trials_a").write_text("m ann-s0-0002 target\nn ann-s0-0002 nontarget\nm cy-s0-0000 nontarget\n")
    message = ok("subset_data_dir.sh", "--first", data, 3, tmp_path / "part")
    assert "trials_a: kept 1 of 3 lines" in message
    assert (tmp_path / "part/enrol_a").read_text() == "m ann-s0-0000\n"
    assert (tmp_path / "part/trials_a").read_text() == "m ann-s0-0002 target\n"


@pytest.mark.parametrize("words", [["--first", "x"], ["--first", 0], ["--first", 99], ["--first"], ["--nope", 3]])
def test_subset_mistakes(data: Path, tmp_path: Path, words: list) -> None:
    number = words[1:]
    assert refused("subset_data_dir.sh", words[0], data, *number, tmp_path / "part").count("\n") == 1
    assert not (tmp_path / "part/utt2spk").exists()


def test_copy_renames_and_remembers(data: Path, tmp_path: Path) -> None:
    (data / "trials_a").write_text("ann-s0-0000 bob-s0-0000 nontarget\n")
    write_rows(data / "spk2gender", {"ann": "f", "bob": "m", "cy": "m"})
    options = ["--utt-prefix", "sp0.9-", "--spk-prefix=sp0.9-", "--utt_suffix", "-x"]
    ok("copy_data_dir.sh", *options, data, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert keys(copy / "utt2spk") == [f"sp0.9-{key}-x" for key in keys(data / "utt2spk")]
    assert keys(copy / "spk2utt") == keys(copy / "spk2gender") == ["sp0.9-ann", "sp0.9-bob", "sp0.9-cy"]
    assert (copy / "utt2uniq").read_text().splitlines()[0] == "sp0.9-ann-s0-0000-x ann-s0-0000"
    assert (copy / "trials_a").read_text() == "sp0.9-ann-s0-0000-x sp0.9-bob-s0-0000-x nontarget\n"
    ok("copy_data_dir.sh", "--utt-suffix", "-y", copy, tmp_path / "second")
    assert (tmp_path / "second/utt2uniq").read_text().splitlines()[0] == "sp0.9-ann-s0-0000-x-y ann-s0-0000"
    ok("copy_data_dir.sh", data, tmp_path / "same")
    assert read_files(tmp_path / "same") == read_files(data)


def test_copy_sorts_after_a_suffix(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_data_dir(data, {"s": 0, "t": 1}, feats=False)
    for name, first, second in (
        ("utt2spk", "t", "t"),
        ("wav.scp", "a", "b"),
        ("utt2session", "x", "x"),
        ("utt2dur", "1", "2"),
    ):
        write_rows(data / name, {"t-a": first, "t-a!": second})
    ok("fix_data_dir.sh", data)
    ok("copy_data_dir.sh", "--utt-suffix", "~", data, tmp_path / "copy")
    assert (tmp_path / "copy/wav.scp").read_text() == "t-a!~ b\nt-a~ a\n"


def test_copy_refuses_speakers_out_of_order(data: Path, tmp_path: Path) -> None:
    write_rows(data / "utt2spk", {key: "b" if key < "bob" else "a" for key in keys(data / "utt2spk")})
    ok("fix_data_dir.sh", data)
    assert "not by speaker" in refused("copy_data_dir.sh", "--spk-prefix", "x", data, tmp_path / "copy")
    assert not (tmp_path / "copy/utt2spk").exists()
    ok("copy_data_dir.sh", "--no-spk-sort", "--spk-prefix", "x", data, tmp_path / "copy")


def test_combine_unites_everything(data: Path, tmp_path: Path) -> None:
    ok("copy_data_dir.sh", "--utt-suffix", "-noise", data, tmp_path / "noise")
    write_rows(data / "augment.scp", {"n0": "n0.wav", "n1": "n1.wav"})
    write_rows(tmp_path / "noise/augment.scp", {"n1": "n1.wav", "n2": "n2.wav"})
    write_rows(tmp_path / "noise/utt2aug", dict.fromkeys(keys(tmp_path / "noise/utt2spk"), "noise=n2@5"))
    (data / "trials_a").write_text("ann-s0-0000 bob-s0-0000 nontarget\n")
    message = ok("combine_data.sh", tmp_path / "all", data, tmp_path / "noise")
    assert f"24 utterances (12 of {data} + 12 of {tmp_path}/noise)" in message
    merged = tmp_path / "all"
    ok("validate_data_dir.sh", merged)
    assert keys(merged / "utt2spk") == sorted(keys(data / "utt2spk") + keys(tmp_path / "noise/utt2spk"))
    assert keys(merged / "spk2utt") == ["ann", "bob", "cy"]
    assert keys(merged / "utt2aug") == keys(tmp_path / "noise/utt2spk")
    assert keys(merged / "augment.scp") == ["n0", "n1", "n2"]
    origins = dict(line.split() for line in (merged / "utt2uniq").read_text().splitlines())
    assert origins == {key: key.removesuffix("-noise") for key in keys(merged / "utt2spk")}
    assert (merged / "trials_a").exists() and (merged / "frontend.json").exists()


def test_combine_leaves_out_what_one_source_lacks(data: Path, tmp_path: Path) -> None:
    write_data_dir(tmp_path / "other", {"dan": 2}, feats=False)
    message = ok("combine_data.sh", tmp_path / "all", data, tmp_path / "other")
    assert f"feats.scp is left out: {tmp_path}/other has none" in message
    assert not (tmp_path / "all/feats.scp").exists() and not (tmp_path / "all/frontend.json").exists()
    assert len(keys(tmp_path / "all/wav.scp")) == 14


def test_combine_replaces_an_old_result(data: Path, tmp_path: Path) -> None:
    write_data_dir(tmp_path / "all", {"old": 3})
    write_rows(tmp_path / "all/text", {"x": "y"})
    (tmp_path / "all/notes").write_text("mine")
    run_script("split_data.sh", tmp_path / "all", 2)
    ok("combine_data.sh", tmp_path / "all", data)
    assert read_files(tmp_path / "all") == {**read_files(data), "notes": "mine"}
    assert not list((tmp_path / "all").glob("split*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda other: None, "the utterance ann-s0-0000 is in"),
        (lambda other: (other / "frontend.json").write_text('{"key": "xyz"}\n'), "features of two front ends"),
        (lambda other: (other / "frontend.json").unlink(), "features of two front ends"),
        (lambda other: write_rows(other / "augment.scp", {"n0": "b.wav"}), "n0 has one value in"),
        (lambda other: (other / "trials_a").write_text("dan-s0-0000 dan-s1-0001 target\n"), "rename one"),
        (lambda other: (other / "utt2spk").write_text("x\n"), "utt2spk:1: expected 2 columns"),
    ],
)
def test_combine_refuses(data: Path, tmp_path: Path, change, message: str) -> None:
    write_rows(data / "augment.scp", {"n0": "a.wav"})
    (data / "trials_a").write_text("ann-s0-0000 bob-s0-0000 nontarget\n")
    other = tmp_path / "other"
    write_data_dir(other, SPEAKERS if "is in" in message else {"dan": 2})
    change(other)
    write_data_dir(tmp_path / "all", {"old": 3})
    before = read_files(tmp_path / "all")
    assert message in refused("combine_data.sh", tmp_path / "all", data, other)
    assert read_files(tmp_path / "all") == before
    assert not list((tmp_path / "all").glob(".new*"))


@pytest.mark.parametrize("name", ["copy_data_dir.sh", "combine_data.sh"])
def test_source_is_not_the_destination(data: Path, name: str) -> None:
    before = read_files(data)
    words = [data, data]
    assert "as well as" in refused(name, *words)
    assert read_files(data) == before


@settings(max_examples=5, deadline=None)
@given(st.dictionaries(st.text("abcz-09", min_size=1, max_size=6), st.integers(1, 4), min_size=1, max_size=5))
def test_spk2utt_and_utt2spk_are_inverse(tmp_path_factory: pytest.TempPathFactory, speakers: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("inverse")
    rows = {f"{name}+{index}": name for name, count in speakers.items() for index in range(count)}
    write_rows(folder / "utt2spk", rows)
    (folder / "spk2utt").write_text(run_script("utt2spk_to_spk2utt", folder / "utt2spk").stdout)
    back = run_script("spk2utt_to_utt2spk.pl", folder / "spk2utt").stdout
    assert sorted(back.splitlines()) == sorted((folder / "utt2spk").read_text().splitlines())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("utt2spk_to_spk2utt.pl", "a b\nc\n", "file:2: expected UTTERANCE SPEAKER, found: c"),
        ("utt2spk_to_spk2utt.pl", "a b\na c\n", "file:2: the utterance is there twice"),
        ("spk2utt_to_utt2spk.pl", "a b\nc\n", "file:2: expected SPEAKER UTTERANCE..., found: c"),
        ("spk2utt_to_utt2spk.pl", "a b\nc b\n", "file:2: an utterance is there twice"),
    ],
)
def test_malformed_lines_fail(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / "file").write_text(text)
    result = run_script(name, tmp_path / "file")
    assert (result.returncode, result.stdout) == (1, "")
    assert message in result.stderr


def test_filter_scp(data: Path, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("ann-s0-0000 whatever\n\ncy-s0-0002\nnobody\n")
    kept = run_script("filter_scp.pl", tmp_path / "ids", data / "wav.scp").stdout.splitlines()
    whole = (data / "wav.scp").read_text().splitlines()
    assert kept == [line for line in whole if line.split()[0] in ("ann-s0-0000", "cy-s0-0002")]
    rest = run_script("filter_scp.pl", "--exclude", tmp_path / "ids", data / "wav.scp").stdout.splitlines()
    assert sorted(kept + rest) == whole
    (tmp_path / "speakers").write_text("bob\n")
    by_speaker = run_script("filter_scp.pl", "-f", "2", tmp_path / "speakers", data / "utt2spk").stdout
    assert by_speaker.count("bob-") == by_speaker.count("\n") == 3
    assert "nowhere: No such file" in refused("filter_scp.pl", tmp_path / "nowhere", data / "wav.scp")
    assert "expected 3 words or more" in refused("filter_scp.pl", "-f", 3, tmp_path / "ids", data / "utt2spk")

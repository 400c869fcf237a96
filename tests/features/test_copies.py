"""Copies of a data directory: what is drawn, for whom, and that one utterance does not depend on another."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from etdnn.cli import main
from etdnn.data.datadir import DataDir, read_table, write_data_dir, write_table
from etdnn.errors import UserError
from etdnn.features.augment import parse_recipe, split_sources
from etdnn.features.copies import make_copies
from etdnn.features.plan import Plan, read_plan
from etdnn.settings import fill

PLAN = {
    "speed_factors": [0.9, 1.1],
    "copies": [
        {"name": "noise", "mixture": {"noise": 1, "babble": 1}},
        {"name": "room", "share": 0.5, "mixture": {"reverb": 1, "reverb+noise": 1}, "of_speed_copies": True},
    ],
}
RECIPES = ("egs/mini/conf/augment.yaml", "egs/own/conf/augment.yaml", "egs/voxceleb/conf/augment.yaml")


def plan_of(values: dict) -> Plan:
    return fill(Plan, values, "plan")


@pytest.fixture
def noise(tmp_path) -> Path:
    folder = tmp_path / "noise"
    for name, number in (("noise", 9), ("babble", 12), ("rir", 5)):
        write_table(folder / f"{name}.scp", {f"{name}{i:02d}": f"/audio/{name} {i}.wav" for i in range(number)})
    return folder


def data_dir(path: Path, speakers: int = 6, utterances: int = 10) -> Path:
    keys = {f"s{s}-x-{u:02d}": f"s{s}" for s in range(speakers) for u in range(utterances)}
    tables = {
        "wav.scp": {key: f"/audio/{key}.wav" for key in keys},
        "utt2spk": keys,
        "utt2session": dict.fromkeys(keys, "x"),
        "utt2dur": dict.fromkeys(keys, 2.2),
        "spk2gender": {f"s{s}": "f" for s in range(speakers)},
    }
    write_data_dir(path, tables)
    return path


def quiet(_: str) -> None:
    pass


def test_copies_are_a_valid_data_directory(tmp_path, noise):
    number = make_copies(data_dir(tmp_path / "train"), tmp_path / "copies", plan_of(PLAN), noise, 7, quiet)
    copies = DataDir(tmp_path / "copies")
    copies.validate()
    assert number == len(copies.utt2spk)
    recipes = {key: parse_recipe(text) for key, text in copies.utt2aug.items()}
    assert sum(recipe.keys() <= {"noise", "babble"} for recipe in recipes.values()) == 60
    assert sum(recipe.keys() == {"speed"} for recipe in recipes.values()) == 120
    rooms = [key for key, recipe in recipes.items() if "reverb" in recipe]
    assert 60 < len(rooms) < 120 and sum(key.startswith("sp1.1-") for key in rooms) > 15
    assert copies.utt2spk["sp0.9-s1-x-03"] == "sp0.9-s1" and copies.utt2spk["s1-x-03-noise"] == "s1"
    assert copies.wav_scp["sp0.9-s1-x-03"] == "/audio/s1-x-03.wav"
    assert copies.utt2dur["sp0.9-s1-x-03"] == pytest.approx(2.2 / 0.9, rel=1e-5)
    assert copies.utt2dur["s1-x-03-noise"] == 2.2
    assert copies.utt2uniq["sp0.9-s1-x-03"] == "s1-x-03"
    assert copies.spk2gender["sp0.9-s1"] == "f"
    assert copies.augment_scp["rir00"] == "/audio/rir 0.wav"
    for recipe in recipes.values():
        if "babble" in recipe:
            ids, snr = split_sources(recipe["babble"])
            assert 3 <= len(ids) <= 7 and len(set(ids)) == len(ids) and 13 <= snr <= 20
        if "noise" in recipe:
            ids, snr = split_sources(recipe["noise"])
            assert len(ids) == 1 and 0 <= snr <= 15


def test_recipe_of_an_utterance_does_not_depend_on_the_others(tmp_path, noise):
    make_copies(data_dir(tmp_path / "few", 2, 3), tmp_path / "a", plan_of(PLAN), noise, 7, quiet)
    make_copies(data_dir(tmp_path / "many"), tmp_path / "b", plan_of(PLAN), noise, 7, quiet)
    make_copies(data_dir(tmp_path / "many"), tmp_path / "c", plan_of(PLAN), noise, 8, quiet)
    few, many, other = (read_table(tmp_path / name / "utt2aug") for name in "abc")
    assert few.items() <= many.items()
    assert not few.items() <= other.items()


def test_shares_of_a_mixture_follow_its_weights(tmp_path, noise):
    plan = plan_of({"copies": [{"name": "x", "mixture": {"noise": 3, "tempo": 1}}], "average_sources": True})
    make_copies(data_dir(tmp_path / "train", 20, 50), tmp_path / "copies", plan, noise, 0, quiet)
    recipes = read_table(tmp_path / "copies/utt2aug").values()
    assert 690 < sum("noise" in recipe for recipe in recipes) < 810
    assert all(("average=1" in recipe) == ("noise" in recipe) for recipe in recipes)
    assert {recipe for recipe in recipes if "tempo" in recipe} == {f"tempo={f}" for f in (0.8, 0.9, 1.1, 1.2)}


def test_material_that_is_not_there(tmp_path, noise):
    train, said = data_dir(tmp_path / "train"), []
    plan = plan_of({"copies": [{"name": "noise", "mixture": {"noise": 1, "music": 1}}]})
    make_copies(train, tmp_path / "copies", plan, noise, 0, said.append)
    assert "no music.scp" in said[0] and not (tmp_path / "copies/augment.scp").read_text().startswith("music")
    with pytest.raises(UserError, match="copy 'm' of the plan needs music"):
        make_copies(train, tmp_path / "x", plan_of({"copies": [{"name": "m", "mixture": {"music": 1}}]}), noise, 0)
    (noise / "babble.scp").write_text("noise00 /other.wav\n")
    with pytest.raises(UserError, match=r"noise.scp|babble.scp.*id 'noise00' stands for another file"):
        make_copies(train, tmp_path / "x", plan_of(PLAN), noise, 0, quiet)


def test_plan_without_copies_makes_no_directory(tmp_path):
    assert make_copies(data_dir(tmp_path / "train"), tmp_path / "copies", Plan(), None, 0, quiet) == 0
    assert not (tmp_path / "copies").exists()


def test_id_that_is_taken(tmp_path, noise):
    train = data_dir(tmp_path / "train", 1, 1)
    tables = {"wav.scp": {}, "utt2spk": {}}
    for key in ("s0-x-00", "s0-x-00-noise"):
        tables["wav.scp"][key], tables["utt2spk"][key] = "/a.wav", "s0"
    write_data_dir(train, tables)
    (train / "utt2dur").unlink()
    (train / "utt2session").unlink()
    with pytest.raises(UserError, match="'s0-x-00-noise' has the id that one of its copies would get"):
        make_copies(train, tmp_path / "copies", plan_of(PLAN), noise, 0, quiet)


@pytest.mark.parametrize("name", [*RECIPES, "egs/voxceleb/conf/augment_paper.yaml"])
def test_plans_of_the_recipes(repository, name):
    assert read_plan(repository / name).copies


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speeds: [1.1]", "unknown key 'speeds'"),
        ("speed_factors: [1.0]", "are not 1"),
        ("copies: [{name: a b, mixture: {noise: 1}}]", "becomes part of ids"),
        ("copies: [{name: a, mixture: {nose: 1}}]", "'nose' is not one of"),
        ("copies: [{name: a, mixture: {}}]", "needs weights above 0"),
        ("copies: [{name: a, share: 2, mixture: {noise: 1}}]", "share: 2"),
        ("noise: {snr: [15, 0]}", "is not .lowest, highest"),
        ("babble: {sources: [0, 2]}", "is not .fewest, most"),
        ("copies: [{name: a, mixture: {noise: 1}}, {name: a, mixture: {noise: 1}}]", "same name"),
    ],
)
def test_bad_plans(tmp_path, text, message):
    (tmp_path / "augment.yaml").write_text(text)
    with pytest.raises(UserError, match=f"augment.yaml.*{message}"):
        read_plan(tmp_path / "augment.yaml")


def test_command(tmp_path, noise, repository, capsys):
    data_dir(tmp_path / "train")
    words = ["make-copies", "--plan", str(repository / "egs/mini/conf/augment.yaml"), "--noise", str(noise)]
    assert main([*words, "--seed", "3", str(tmp_path / "train"), str(tmp_path / "copies")]) == 0
    number = len(read_table(tmp_path / "copies/utt2aug"))
    assert number >= 60 and f"copies: {number} copies" in capsys.readouterr().out


def test_noises_become_a_data_directory_when_the_plan_stores_them(tmp_path, capsys):
    for part in ("train", "dev"):
        for kind in ("noise", "babble", "rir"):
            write_table(
                tmp_path / f"noise/{part}/{kind}.scp", {f"{kind}-{part}": tone(tmp_path / f"{kind}-{part}.wav")}
            )
    (tmp_path / "plan.yaml").write_text("store_noise: true\n")
    words = ["make-copies", "--plan", str(tmp_path / "plan.yaml"), "--noise", str(tmp_path / "noise/train")]
    words += ["--noise-set", str(tmp_path / "set"), str(data_dir(tmp_path / "train")), str(tmp_path / "copies")]
    assert main(words) == 0
    DataDir(tmp_path / "set").validate()
    assert DataDir(tmp_path / "set").utt2spk == {"babble-train": "babble", "noise-train": "noise"}
    (tmp_path / "noise/train/babble.scp").unlink()
    (tmp_path / "noise/train/noise.scp").unlink()
    assert main(words) == 1
    assert "noise.scp, music.scp or babble.scp" in capsys.readouterr().err
    (tmp_path / "plan.yaml").write_text("store_noise: false\n")
    assert main(words) == 0 and not (tmp_path / "set").exists()


def tone(path: Path) -> Path:
    soundfile.write(path, np.sin(np.arange(8000)), 16000)
    return path


def test_copies_of_segments_are_the_same_parts(tmp_path, noise):
    data = data_dir(tmp_path / "train")
    keys = list(read_table(data / "utt2spk"))
    write_table(data / "segments", {key: f"{key[:4]} {number} {number + 2.5}" for number, key in enumerate(keys)})
    write_table(data / "wav.scp", {key[:4]: f"/audio/{key[:4]}.wav" for key in keys} | {"unused": "/u.wav"})
    (data / "utt2dur").unlink()
    assert make_copies(data, tmp_path / "copies", plan_of(PLAN), noise, 7, quiet) > 0
    copies = DataDir(tmp_path / "copies")
    copies.validate()
    assert list(copies.wav_scp) == ["s0-x", "s1-x", "s2-x", "s3-x", "s4-x", "s5-x"]
    originals = DataDir(data).segments
    assert all(copies.segments[key] == originals[original] for key, original in copies.utt2uniq.items())
    slow = next(key for key in copies.utt2spk if key.startswith("sp0.9-") and copies.utt2aug[key] == "speed=0.9")
    assert copies.utt2dur[slow] == pytest.approx(2.5 / 0.9, abs=1e-4)

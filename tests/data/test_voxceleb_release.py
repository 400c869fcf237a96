import shutil

import pytest
from helpers.recordings import write_recordings
from helpers.voxceleb import write_release

from etdnn.data import voxceleb_release
from etdnn.data.voxceleb_release import download_trials, find_parts, read_gender, scan_parts
from etdnn.errors import UserError

LAYOUTS = {
    "plain": ({"": "wav"}, ["all"]),
    "bare": ({"": ""}, ["all"]),
    "aac": ({"": "aac"}, ["all"]),
    "dev and test, wav": ({"dev": "wav", "test": "wav"}, ["dev", "test"]),
    "dev and test, aac": ({"dev": "aac", "test": "aac"}, ["dev", "test"]),
    "dev and test, bare": ({"dev": "", "test": ""}, ["dev", "test"]),
    "dev alone": ({"dev": "aac"}, ["dev"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_and_named(tmp_path, layout):
    levels, names = LAYOUTS[layout]
    for index, (level, inner) in enumerate(levels.items()):
        suffix = ".m4a" if inner == "aac" else ".wav"
        write_release(tmp_path / level / inner, first=100 * (index + 1), speakers=2, suffix=suffix)
    parts = find_parts(tmp_path, "VoxCeleb2")
    assert [part.name for part in parts] == names
    assert [part.folder for part in parts] == [tmp_path / level / inner for level, inner in levels.items()]
    assert {name: len(rows) for name, rows in scan_parts(parts).items()} == dict.fromkeys(names, 8)


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ((("wav", ".wav"), ("aac", ".m4a")), "a mixture of layouts"),
        ((("wav", ".wav"), ("dev/wav", ".wav")), "a mixture of layouts"),
        ((("dev/aac", ".m4a"), ("test/wav", ".wav")), "a mixture of layouts"),
        ((("wav", ".wav"), ("wav", ".m4a")), "a mixture of .m4a and .wav files"),
    ],
)
def test_mixtures_are_refused(tmp_path, folders, said):
    for index, (folder, suffix) in enumerate(folders):
        root = tmp_path / str(index)
        write_release(root, first=100 * (index + 1) if "layouts" in said else 100, speakers=1, suffix=suffix)
        shutil.copytree(root, tmp_path / "corpus" / folder, dirs_exist_ok=True)
    with pytest.raises(UserError, match=said):
        find_parts(tmp_path / "corpus", "VoxCeleb2")


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_parts(tmp_path / "none", "VoxCeleb1")
    with pytest.raises(UserError, match="no VoxCeleb1 in it"):
        find_parts(tmp_path, "VoxCeleb1")
    (tmp_path / "old" / "wav" / "A.J._Buckley" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match="'A.J._Buckley' are those of an older release"):
        find_parts(tmp_path / "old", "VoxCeleb1")
    (tmp_path / "half" / "wav" / "id10001" / "x").mkdir(parents=True)
    with pytest.raises(UserError, match="half-extracted"):
        find_parts(tmp_path / "half", "VoxCeleb1")
    write_release(tmp_path / "odd" / "wav", first=1, speakers=1)
    (tmp_path / "odd" / "wav" / "notes").mkdir()
    with pytest.raises(UserError, match="notes: not a speaker's folder"):
        find_parts(tmp_path / "odd", "VoxCeleb1")


def test_trial_lists_are_fetched_where_they_can_be(tmp_path):
    (tmp_path / "site").mkdir()
    for known in voxceleb_release.CLEANED:
        (tmp_path / "site" / known.files[0]).write_text("1 a b\n")
    found = download_trials(tmp_path / "lists", url=(tmp_path / "site").as_uri())
    assert sorted(found) == ["vox1_E_cleaned", "vox1_H_cleaned", "vox1_O_cleaned"]
    assert all(path.read_text() == "1 a b\n" for path in found.values())
    with pytest.raises(UserError, match="cannot be fetched .*give --trials-dir"):
        download_trials(tmp_path / "other", url=(tmp_path / "nowhere").as_uri())


def test_meta_files_of_both_releases_are_read(tmp_path):
    (tmp_path / "vox1_meta.csv").write_text(
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tA\tm\tIreland\tdev\n"
    )
    (tmp_path / "vox2_meta.csv").write_text("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,f ,dev \n")
    assert read_gender([tmp_path], "vox1_meta.csv") == {"id10001": "m"}
    assert read_gender([tmp_path / "none", tmp_path], "vox2_meta.csv") == {"id00012": "f"}
    assert read_gender([tmp_path / "none"], "vox2_meta.csv") == {}


def test_recordings_of_other_projects_are_no_voxceleb(tmp_path):
    write_recordings(tmp_path, speakers=2)
    with pytest.raises(UserError, match="no VoxCeleb1 in it"):
        find_parts(tmp_path, "VoxCeleb1")

"""The range reader against kaldiio and kaldi_native_io; damaged arks; forks; the index."""

import multiprocessing
import os
import pickle
from pathlib import Path

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from etdnn.data.ark import ArkWriter, FeatureReader
from etdnn.data.ark_index import Keys, read_scp_index
from etdnn.errors import UserError

FORMATS = ("fm", "cm", "cm2", "cm3")
TOLERANCE = 2e-5


def make_ark(folder: Path, compression: str, frames=(1, 7, 40, 333, 900), dim: int = 80) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    matrices = {f"utt{n:04d}-{i}": (rng.normal(10, 4, (n, dim))).astype(np.float32) for i, n in enumerate(frames)}
    with ArkWriter(folder / f"{compression}.ark", folder / f"{compression}.scp", compression) as writer:
        for key, matrix in matrices.items():
            writer.write(key, matrix)
    return matrices


@pytest.fixture(scope="module")
def arks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arks")
    for compression in FORMATS:
        make_ark(folder, compression)
    return folder


@pytest.mark.parametrize("compression", FORMATS)
def test_reads_what_kaldiio_and_kaldi_read(arks, compression):
    scp = arks / f"{compression}.scp"
    reader, peer = FeatureReader(scp), kaldiio.load_scp(str(scp))
    native = {key: np.array(value) for key, value in kaldi_native_io.SequentialFloatMatrixReader(f"scp:{scp}")}
    assert reader.keys == sorted(native)
    for key in reader.keys:
        np.testing.assert_allclose(reader.read(key), peer[key], atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(reader.read(key), native[key], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("compression", FORMATS)
def test_crops_are_wrapped_ranges_of_the_matrix(arks, compression):
    reader = FeatureReader(arks / f"{compression}.scp")
    rng = np.random.default_rng(1)
    indices = rng.integers(0, len(reader), 60)
    starts = (rng.random(60) * reader.num_frames[indices]).astype(int)
    crops = reader.read_crops(indices, starts, 200)
    assert crops.dtype == np.float32 and crops.shape == (60, 200, 80)
    for crop, index, start in zip(crops, indices, starts, strict=True):
        whole = reader.read(int(index))
        np.testing.assert_array_equal(crop, whole[(start + np.arange(200)) % len(whole)])
    assert np.array_equal(reader.read_range(3, 100, 50), reader.read(3)[100:150])
    with pytest.raises(ValueError, match="frames 300 to 350 of 333"):
        reader.read_range(3, 300, 50)


def test_codes_travel_unscaled_and_mixed_formats_as_floats(arks):
    sixteen = FeatureReader(arks / "cm2.scp").read_quantised([3, 4], [0, 5], 100)
    assert sixteen.codes.dtype == np.uint16
    by_hand = sixteen.codes * sixteen.step[:, None, None] + sixteen.minimum[:, None, None]
    np.testing.assert_allclose(sixteen.to_float(), by_hand, atol=TOLERANCE)
    assert FeatureReader(arks / "cm3.scp").read_quantised([3], [0], 10).codes.dtype == np.uint8


def test_reader_over_several_lists_of_different_formats(tmp_path):
    for compression, name in (("cm2", "a"), ("cm3", "b"), ("cm", "c")):
        with ArkWriter(tmp_path / f"{name}.ark", tmp_path / f"{name}.scp", compression) as writer:
            writer.write(name, np.arange(400, dtype=np.float32).reshape(100, 4))
    reader = FeatureReader([tmp_path / f"{name}.scp" for name in "cab"])
    assert list(reader.keys) == ["c", "a", "b"] and reader.index("b") == 2
    crops = reader.read_crops([0, 1, 2], [0, 50, 90], 20)
    assert np.abs(crops[1, :, 0] - np.arange(200, 280, 4)).max() < 0.1
    assert np.abs(crops[2, 10:, 0] - np.arange(0, 40, 4)).max() < 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    matrix=arrays(
        np.float32, st.tuples(st.integers(1, 30), st.integers(1, 6)), elements=st.floats(-100, 100, width=32)
    ),
    compression=st.sampled_from(FORMATS),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=12),
)
def test_any_matrix_and_key_survive(tmp_path, matrix, compression, key):
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp", compression) as writer:
        writer.write("first", matrix[::-1])
        writer.write(key + "~", matrix)
    reader = FeatureReader(tmp_path / "a.scp")
    expected = kaldiio.load_mat((tmp_path / "a.scp").read_text().splitlines()[1].split(" ", 1)[1])
    np.testing.assert_allclose(reader.read(key + "~"), expected, atol=TOLERANCE, rtol=2e-6)


def _read_in_child(reader: FeatureReader, queue) -> None:
    queue.put([reader.read_crops([index], [3], 30).sum() for index in (2, 3, 4)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_crosses_processes(arks, method):
    reader = FeatureReader(arks / "cm2.scp")
    expected = [reader.read_crops([index], [3], 30).sum() for index in (2, 3, 4)]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=_read_in_child, args=(reader, queue)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        assert queue.get(timeout=60) == expected
        child.join()
    assert pickle.loads(pickle.dumps(reader)).read(0).shape == (1, 80)


@pytest.mark.parametrize("compression", FORMATS)
def test_truncated_ark_names_file_and_key(tmp_path, compression):
    make_ark(tmp_path, compression)
    ark = tmp_path / f"{compression}.ark"
    os.truncate(ark, ark.stat().st_size - 10)
    reader = FeatureReader(tmp_path / f"{compression}.scp")
    assert reader.read(2).shape == (40, 80)
    with pytest.raises(UserError, match=rf"{compression}.ark: utt0900-4: truncated"):
        reader.read_crops([4], [700], 200)


def test_ark_truncated_while_it_is_read(tmp_path):
    make_ark(tmp_path, "cm2")
    reader = FeatureReader(tmp_path / "cm2.scp")
    reader.read_crops([4], [0], 200)
    os.truncate(tmp_path / "cm2.ark", 1000)
    with pytest.raises(UserError, match=r"cm2.ark: utt0900-4: truncated"):
        reader.read_crops([4], [0], 200)


@pytest.mark.parametrize(
    ("position", "content", "message"),
    [
        (0, b"PKL", "no binary FM, CM, CM2 or CM3 matrix"),
        (14, b"\xff\xff\xff\xff", "corrupt CM2 header"),
        (6, b"\x00\x00\xc0\x7f", "corrupt CM2 header"),
        (14, b"\x05", "5 frames where utt2num_frames says 7"),
        (18, b"\x20", "32 values per frame where others have 80"),
    ],
)
def test_corrupt_ark_names_file_and_key(tmp_path, position, content, message):
    make_ark(tmp_path, "cm2")
    (tmp_path / "utt2num_frames").write_text("utt0001-0 1\nutt0007-1 7\nutt0040-2 40\nutt0333-3 333\nutt0900-4 900\n")
    offset = int((tmp_path / "cm2.scp").read_text().splitlines()[1].rsplit(":", 1)[1])
    with (tmp_path / "cm2.ark").open("r+b") as handle:
        handle.seek(offset + position)
        handle.write(content)
    reader = FeatureReader(tmp_path / "cm2.scp")
    assert reader.dim == 80
    with pytest.raises(UserError, match=rf"cm2.ark: utt0007-1: {message}"):
        reader.read("utt0007-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a /x.ark:1\nb\n", r"feats.scp:2: expected a key"),
        ("a /x.ark:1\nb /x.ark\n", r"feats.scp:2: expected 'KEY ARK:OFFSET'"),
        ("a /x.ark:1[0:3]\n", r"feats.scp:1: expected 'KEY ARK:OFFSET' without pipe or range"),
        ("a gunzip -c x |:1\n", r"not read from a pipe"),
        ("a /x.ark:1", r"feats.scp:1: the last line is cut off"),
        ("a /x.ark:1\r\n", r"feats.scp:1: expected 'KEY ARK:OFFSET'"),
        ("", r"feats.scp: no utterances"),
        ("b /x.ark:1\na /x.ark:2\nb /x.ark:3\n", r"duplicate utterance id b"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / "feats.scp").write_text(text)
    with pytest.raises(UserError, match=message):
        FeatureReader(tmp_path / "feats.scp")


def test_missing_ark_list_and_key(tmp_path, arks):
    with pytest.raises(UserError, match="nothing.scp: No such file"):
        FeatureReader(tmp_path / "nothing.scp")
    (tmp_path / "feats.scp").write_text("a /nowhere/x.ark:1\n")
    with pytest.raises(UserError, match=r"/nowhere/x.ark: No such file or directory"):
        FeatureReader(tmp_path / "feats.scp").read("a")
    with pytest.raises(UserError, match="no features of utterance nobody"):
        FeatureReader(arks / "cm2.scp").read("nobody")


def test_writer_leaves_nothing_after_a_failure(tmp_path):
    with pytest.raises(UserError, match="not finite"), ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("good", np.ones((3, 4), np.float32))
        writer.write("bad", np.full((3, 4), np.nan, np.float32))
    with pytest.raises(UserError, match="cannot be an utterance id"), ArkWriter(tmp_path / "a.ark", "b") as writer:
        writer.write("two words", np.ones((3, 4), np.float32))
    assert not list(tmp_path.iterdir())


def _write_too_much(folder: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    try:
        with ArkWriter(folder / "a.ark", folder / "a.scp", "fm") as writer:
            for key in "abcd":
                writer.write(key, np.ones((50, 80), np.float32))
    except UserError as error:
        os._exit(17 if "a.ark: File too large" in str(error) else 1)
    os._exit(0)


def test_full_disc_keeps_the_previous_ark(tmp_path):
    with ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp", "fm") as writer:
        writer.write("a", np.ones((3, 4), np.float32))
    child = multiprocessing.get_context("fork").Process(target=_write_too_much, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 17
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ark", "a.scp"]
    assert FeatureReader(tmp_path / "a.scp").read("a").shape == (3, 4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Z", "C"]), min_size=1), unique=True))
def test_keys_behave_as_a_list(names):
    blob = "".join(f"{name}\n" for name in names).encode()
    keys = Keys(blob, np.cumsum([len(name) + 1 for name in names]).astype(np.int64))
    assert keys == names and list(keys) == names and keys[1:] == names[1:]
    assert [keys.index(name) for name in names] == list(range(len(names)))
    assert "no such name" not in keys


def test_index_spans_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("etdnn.data.ark_index._BLOCK", 64)
    (tmp_path / "feats.scp").write_text("".join(f"utt{i:05d} /a/b{i % 3}.ark:{i * 977}\n" for i in range(500)))
    index = read_scp_index([tmp_path / "feats.scp"])
    assert index.keys[499] == "utt00499" and index.offset[499] == 499 * 977
    assert [index.paths[ark] for ark in index.ark[:3]] == ["/a/b0.ark", "/a/b1.ark", "/a/b2.ark"]

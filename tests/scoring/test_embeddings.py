"""Embeddings as Kaldi vectors: what is written is what others read, and what is broken is named."""

import kaldi_native_io
import kaldiio
import numpy as np
import pytest

from etdnn.errors import UserError
from etdnn.scoring.embeddings import read_embeddings, write_embeddings


@pytest.fixture
def written(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    ids = [f"spk-ses-{i}" for i in range(5)]
    write_embeddings(tmp_path / "e.1.ark", tmp_path / "e.1.scp", ids[:2], matrix[:2])
    write_embeddings(tmp_path / "e.2.ark", tmp_path / "e.2.scp", ids[2:], matrix[2:])
    return tmp_path, ids, matrix


def test_round_trip_of_several_files(written):
    folder, ids, matrix = written
    got = read_embeddings([folder / "e.1.scp", folder / "e.2.scp"])
    assert got.ids == ids and got.index[ids[3]] == 3
    assert np.array_equal(got.matrix, matrix) and got.matrix.dtype == np.float32


def test_kaldi_readers_agree(written):
    folder, ids, matrix = written
    by_kaldiio = kaldiio.load_scp(str(folder / "e.2.scp"))
    assert np.array_equal(by_kaldiio[ids[4]], matrix[4])
    with kaldi_native_io.RandomAccessFloatVectorReader(f"scp:{folder / 'e.2.scp'}") as reader:
        assert np.array_equal(reader[ids[2]], matrix[2])


def test_reads_what_kaldiio_writes(tmp_path):
    vectors = {f"u{i}": np.arange(i, i + 7, dtype=np.float32) for i in range(4)}
    kaldiio.save_ark(str(tmp_path / "k.ark"), vectors, scp=str(tmp_path / "k.scp"))
    got = read_embeddings(tmp_path / "k.scp")
    assert got.ids == list(vectors) and np.array_equal(got.matrix, np.stack(list(vectors.values())))


@pytest.mark.parametrize(
    ("change", "part"),
    [(lambda text: text + "nonsense\n", r"e\.1\.scp:3: expected 'id ark:offset'"),
     (lambda text: text + text, r"e\.1\.scp:3: 'spk-ses-0' is there twice"),
     (lambda text: text.replace(".ark:", ".ark:9"), r"e\.1\.scp:1: no vector of the expected size"),
     (lambda text: text.replace("e.1.ark", "gone.ark"), r"e\.1\.scp:1: .*gone\.ark: no such file"),
     (lambda _: "", "no embeddings in it")],
)  # fmt: skip
def test_broken_scp_names_file_and_line(written, change, part):
    scp = written[0] / "e.1.scp"
    scp.write_text(change(scp.read_text()))
    with pytest.raises(UserError, match=part):
        read_embeddings(scp)


def test_truncated_ark(written):
    ark = written[0] / "e.1.ark"
    ark.write_bytes(ark.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"e\.1\.scp:2: no vector"):
        read_embeddings(written[0] / "e.1.scp")


def test_missing_scp_names_the_stage(tmp_path):
    with pytest.raises(UserError, match="stage 6"):
        read_embeddings(tmp_path / "test.scp")


def test_nan_and_blank_ids_are_not_written(tmp_path):
    with pytest.raises(UserError, match="1 embeddings are not finite numbers .first: b"):
        write_embeddings(tmp_path / "a.ark", tmp_path / "a.scp", ["a", "b"], np.array([[1.0], [np.nan]]))
    with pytest.raises(UserError, match="white space"):
        write_embeddings(tmp_path / "a.ark", tmp_path / "a.scp", ["a b"], np.ones((1, 2)))
    assert not list(tmp_path.iterdir())

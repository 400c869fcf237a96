import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from helpers.models import noise_wave, random_net, save_model

import etdnn
from etdnn.cli import main
from etdnn.deploy import export as room
from etdnn.deploy import onnx_example
from etdnn.deploy.wave_front_end import WaveFrontEnd
from etdnn.errors import UserError
from etdnn.features.fbank import AUTHORS, FbankOptions, compute_fbank
from etdnn.model.checkpoint import save_subnet

RATE = 16000
SHALLOW = "1-16-16-3-3-16"  # the exporter's time is by the number of layers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("export")
    path = save_model(folder / "model.safetensors")
    metadata = etdnn.load_model(path).metadata
    save_subnet(path, random_net(SHALLOW), metadata)
    return etdnn.load_model(path)


@pytest.fixture(scope="module")
def fbank_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "fbank.onnx"
    made = room.export_onnx(model, path)
    assert made.largest_difference < 1e-4 and made.lowest_cosine > 0.9999 and made.bytes == path.stat().st_size
    return path


@pytest.fixture(scope="module")
def wave_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "wave.onnx"
    assert main(["export", model.name, str(path), "--form", "wave", "--json"]) == 0
    return path


@pytest.mark.parametrize(
    "options", [FbankOptions(), FbankOptions(type="efficienttdnn", **AUTHORS)], ids=lambda o: o.type
)
@pytest.mark.parametrize("samples", [8000, 8079, 8080, 16001, 37777])
def test_front_end_as_a_network(options, samples):
    wave = noise_wave(3)[:samples]
    expected = compute_fbank(wave * 32768, options)
    found = WaveFrontEnd(options)(torch.from_numpy(wave)[None])[0].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 1e-5 and np.quantile(np.abs(found - expected), 0.9999) < 1e-2


def test_front_ends_without_a_waveform_form():
    with pytest.raises(UserError, match="--snip-edges=True: no waveform form"):
        WaveFrontEnd(FbankOptions(snip_edges=True))


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("seconds", [0.5, 1, 3, 10, 60])
def test_fbank_form_equals_pytorch(model, fbank_file, batch, seconds):
    x = torch.randn(batch, int(seconds * 100), 80) * 3 + 10
    with torch.no_grad():
        expected = model.net((x - x.mean(1, keepdim=True)).transpose(1, 2)).numpy()
    found = room.open_session(fbank_file).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.5, 1.237, 3])
def test_wave_form_equals_the_runtime(model, wave_file, seconds):
    wave = noise_wave(seconds)
    found = room.open_session(wave_file).run(None, {"x": wave[None]})[0][0]
    expected = model.embed(wave, RATE)
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.9999


def test_sherpa_onnx_takes_the_file(model, fbank_file):
    sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(
        sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(fbank_file), num_threads=1)
    )
    assert extractor.dim == model.dim
    wave = noise_wave(2.3)
    stream = extractor.create_stream()
    stream.accept_waveform(RATE, wave)
    stream.input_finished()
    np.testing.assert_allclose(extractor.compute(stream), model.embed(wave, RATE), atol=1e-3)


def test_metadata(model, fbank_file):
    properties = room.open_session(fbank_file).get_modelmeta().custom_metadata_map
    assert {key: properties[key] for key in ("framework", "sample_rate", "output_dim", "normalize_samples")} == {
        "framework": "wespeaker", "sample_rate": "16000", "output_dim": "192", "normalize_samples": "0",
    }  # fmt: skip
    about = json.loads(properties["etdnn"])
    assert about["threshold"] == 0.4 and about["model"] == model.hash and about["arch"] == SHALLOW


def test_other_front_ends_are_not_offered_to_sherpa_onnx(tmp_path):
    other = etdnn.load_model(
        save_model(tmp_path / "m", frontend=FbankOptions(type="efficienttdnn", **AUTHORS).to_dict())
    )
    assert "framework" not in room.onnx_metadata(other, "fbank") and "framework" not in room.onnx_metadata(
        other, "wave"
    )


def test_a_gap_is_refused_and_keeps_the_old_file(model, fbank_file, tmp_path, monkeypatch):
    graph = pytest.importorskip("onnx").load(fbank_file)
    monkeypatch.setattr(room, "build_graph", lambda *_arguments: graph)
    path = tmp_path / "model.onnx"
    path.write_text("old")
    monkeypatch.setattr(room, "compare", lambda *_arguments: (2e-4, 1.0))
    with pytest.raises(UserError, match="not written: ONNX differs from PyTorch by 0.0002"):
        room.export_onnx(model, path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_compare_sees_a_gap(model, fbank_file):
    wrong = room.FbankForm(model)
    wrong.kind = "none"
    difference, cosine = room.compare(model, wrong, fbank_file, "fbank")
    assert difference > room.TOLERANCE and cosine > room.MIN_COSINE


def test_example_runs_without_torch(model, wave_file, tmp_path):
    for seed in (0, 1):
        soundfile.write(tmp_path / f"{seed}.wav", noise_wave(2, seed=seed), RATE)
    blocker = "import sys; sys.modules['torch'] = None; sys.modules['etdnn'] = None; sys.argv[0] = 'onnx_example.py'; "
    source = f"exec(compile(open({onnx_example.__file__!r}).read(), 'onnx_example.py', 'exec'))"
    command = [sys.executable, "-c", blocker + source, str(wave_file), str(tmp_path / "0.wav"), str(tmp_path / "1.wav")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    expected = model.verify(tmp_path / "0.wav", tmp_path / "1.wav")
    assert found["score"] == pytest.approx(expected.score, abs=1e-4)
    assert found["threshold"] == 0.4 and found["same"] is expected.same


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx: pip install 'etdnn\[onnx\]'"):
        room.export_onnx(model, tmp_path / "model.onnx")

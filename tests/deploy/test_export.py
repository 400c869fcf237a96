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
from etdnn.deploy.onnx_tools import embed_with, open_session
from etdnn.deploy.quantise import int8_layers, layer_table, turned
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
def exporter(model):
    waves = [noise_wave(1.5, seed=seed) * 32768 for seed in range(16)]
    return room.Exporter(model, [compute_fbank(wave, model.frontend) for wave in waves])


@pytest.fixture(scope="module")
def fbank_file(exporter, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "fbank.onnx"
    made = exporter.write(path)
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
    found = open_session(fbank_file).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.5, 1.237, 3])
def test_wave_form_equals_the_runtime(model, wave_file, seconds):
    wave = noise_wave(seconds)
    found = open_session(wave_file).run(None, {"x": wave[None]})[0][0]
    expected = model.embed(wave, RATE)
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.9999


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_sherpa_onnx_takes_the_file(model, exporter, tmp_path, precision):
    fbank_file = tmp_path / "model.onnx"
    exporter.write(fbank_file, precision=precision)
    sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(
        sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(fbank_file), num_threads=1)
    )
    assert extractor.dim == model.dim
    wave = noise_wave(2.3)
    stream = extractor.create_stream()
    stream.accept_waveform(RATE, wave)
    stream.input_finished()
    found, expected = np.array(extractor.compute(stream)), model.embed(wave, RATE)
    if precision == "fp32":
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert turned(found[None], expected[None]) < {"fp32": 1e-6, "fp16": 1e-4, "int8": 0.02}[precision]


def test_metadata(model, fbank_file):
    properties = open_session(fbank_file).get_modelmeta().custom_metadata_map
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


def test_a_gap_is_refused_and_keeps_the_old_file(model, exporter, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    monkeypatch.setattr(room, "compare", lambda *_arguments: (2e-4, 1.0))
    with pytest.raises(UserError, match="not written: ONNX in fp32 differs from PyTorch by 0.0002"):
        exporter.write(path)
    monkeypatch.setattr(room, "compare", lambda *_arguments: (0.0, 0.97))
    with pytest.raises(UserError, match="lowest cosine 0.970000"):
        exporter.write(path, precision="int8")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_compare_sees_a_gap(model, fbank_file):
    other = etdnn.load_model(model.name)
    other.metadata["normalisation"] = "none"
    difference, _cosine = room.compare(other, fbank_file, "fbank", room.CHECKS[:2])
    assert difference > room.TOLERANCE


@pytest.mark.parametrize("precision, gap", [("fp16", 1e-4), ("int8", 0.02)])
def test_smaller_files_stay_near_the_network(model, exporter, fbank_file, tmp_path, precision, gap):
    made = exporter.write(tmp_path / "small.onnx", precision=precision)
    assert made.bytes < (0.75 if precision == "fp16" else 0.9) * fbank_file.stat().st_size
    features = [compute_fbank(noise_wave(2, seed=seed) * 32768, model.frontend) for seed in range(4)]
    found = [embed_with(open_session(path), features) for path in (fbank_file, tmp_path / "small.onnx")]
    assert not np.array_equal(*found) and turned(*found) < gap
    wave = noise_wave(2)
    exporter.write(tmp_path / "small.wave.onnx", "wave", precision)
    session = open_session(tmp_path / "small.wave.onnx")
    assert turned(session.run(None, {"x": wave[None]})[0], model.embed(wave, RATE)[None]) < gap
    assert json.loads(session.get_modelmeta().custom_metadata_map["etdnn"])["precision"] == precision


def test_layers_that_int8_harms_stay_in_float(exporter):
    proto, features = exporter.graph("fbank", "fp32"), exporter.features
    _graph, layers = int8_layers(proto, features)
    assert {layer.name for layer in layers} == {
        "stem", "blocks.0.first", "blocks.0.res2", "blocks.0.last", "blocks.0.se", "aggregation", "pooling",
        "embedding",
    }  # fmt: skip
    limit = float(np.median([layer.deviation for layer in layers]))
    partly, layers = int8_layers(proto, features, limit)
    kept = {layer.name: layer.int8 for layer in layers}
    assert any(kept.values()) and not all(kept.values())
    stored = {tensor.name: tensor.data_type for tensor in partly.graph.initializer}
    assert ("net.embedding.weight" in stored) is not kept["embedding"]
    assert "kept as" in layer_table(layers) and layer_table(layers).count("float") == list(kept.values()).count(False)
    with pytest.raises(UserError, match="every layer alone"):
        int8_layers(proto, features, -1.0)
    with pytest.raises(UserError, match="at least 16 utterances"):
        int8_layers(proto, features[:3])


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

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers.models import noise_wave, save_model

import etdnn
from etdnn.cli import main

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model file and three recordings."""
    folder = tmp_path_factory.mktemp("daily")
    save_model(folder / "model.safetensors")
    for seed, name in enumerate(("a.wav", "b.flac", "c.ogg")):
        soundfile.write(folder / name, noise_wave(2 + seed, seed=seed), RATE)
    return folder


def call(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_embed_prints_kaldi_text_json_and_writes_npy(folder, capsys, tmp_path):
    model = folder / "model.safetensors"
    files = [folder / "a.wav", folder / "b.flac"]
    expected = [etdnn.load_model(model).embed_file(path) for path in files]
    status, out, _err = call(capsys, "embed", "--model", model, *files)
    assert status == 0
    for line, path, embedding in zip(out.splitlines(), files, expected, strict=True):
        name, values = line.removesuffix(" ]").split("  [ ")
        assert name == str(path)
        np.testing.assert_allclose(np.array(values.split(), float), embedding, atol=1e-4)
    status, out, _err = call(capsys, "embed", "--model", model, *files, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["seconds"] for row in rows] == [2, 3] and rows[0]["windows"] == 1
    np.testing.assert_allclose(rows[1]["embedding"], expected[1], atol=1e-5)
    call(capsys, "embed", "--model", model, *files, "--out", tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.stack(expected))


def test_verify_prints_a_decision_and_its_origin(folder, capsys, monkeypatch):
    monkeypatch.setenv("ETDNN_MODEL", str(folder / "model.safetensors"))
    status, out, _err = call(capsys, "verify", folder / "a.wav", folder / "a.wav", "--exit-status")
    assert status == 0 and out.startswith("same speaker: score 1.0000, threshold 0.4000 (eer on dev trials")
    arguments = ("verify", folder / "a.wav", folder / "b.flac", "--threshold", "1.5", "--json")
    status, out, _err = call(capsys, *arguments, "--exit-status")
    assert status == 3 and json.loads(out)["same"] is False and json.loads(out)["origin"] == "given"
    assert call(capsys, *arguments)[0] == 0


def test_verify_without_thresholds(folder, capsys, tmp_path):
    model = save_model(tmp_path / "m.safetensors", thresholds={})
    arguments = ("verify", "--model", model, folder / "a.wav", folder / "b.flac")
    status, out, _err = call(capsys, *arguments)
    assert status == 0 and "no decision" in out
    status, out, err = call(capsys, *arguments, "--exit-status")
    assert status == 1 and out == "" and "give --threshold" in err


def test_info(folder, capsys):
    status, out, _err = call(capsys, "info", folder / "model.safetensors")
    assert status == 0
    for part in ("2-32-16-24-3-1-5-40", "MACs: ", "type kaldi", "eer 0.4000", "301 frames", "hash "):
        assert part in out
    status, out, _err = call(capsys, "info", folder / "model.safetensors", "--json")
    assert json.loads(out)["normalisation"] == "mean"
    status, out, _err = call(capsys, "info", folder / "model.safetensors", "--card")
    assert status == 0 and out.startswith("# Speaker encoder 2-32-16-24-3-1-5-40") and "No anti-spoofing" in out


@pytest.mark.parametrize(
    "arguments, message, status",
    [
        (("embed", "a.wav"), "no model", 2),
        (("embed", "--model", "absent", "a.wav"), "no such model file", 1),
        (("verify", "--model", "model.safetensors", "a.wav", "absent.wav"), "no such audio file", 1),
        (("verify", "--model", "model.safetensors", "a.wav", "."), "a folder", 1),
        (("verify", "--model", "a.wav", "a.wav", "a.wav"), "not a readable safetensors", 1),
        (("verify", "--model", "model.safetensors", "a.wav", "a.wav", "--point", "x"), "no threshold 'x'", 1),
        (("info", "."), "a folder, not a model file", 1),
    ],
)
def test_mistakes_are_one_line(folder, capsys, monkeypatch, arguments, message, status):
    monkeypatch.delenv("ETDNN_MODEL", raising=False)
    monkeypatch.chdir(folder)
    found, out, err = call(capsys, *arguments)
    assert found == status and out == "" and err.count("\n") == 1 and message in err


@pytest.mark.parametrize("value", ["nan", "inf", "high"])
def test_thresholds_are_numbers(folder, capsys, value):
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--model", str(folder / "model.safetensors"), "a.wav", "a.wav", "--threshold", value])
    assert ended.value.code == 2 and f"'{value}' is no finite number" in capsys.readouterr().err


def test_help_of_no_command_imports_torch():
    script = """
import contextlib, io, sys
from etdnn.cli import commands, main
for name in commands():
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([name, "--help"])
    assert "usage" in shown.getvalue(), name
    assert "torch" not in sys.modules, name
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "verify" in done.stdout, done.stderr

import json
import shutil
import subprocess
import sys

import pytest
import torch
from helpers.models import noise_wave, random_net, save_model

import etdnn
from etdnn.cli import main
from etdnn.data.ark import ArkWriter
from etdnn.deploy import package as room
from etdnn.deploy.model_card import model_card
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.model.checkpoint import read_subnet, save_subnet

ROW = {
    "budget": "5M", "trials": "main", "targets": "60", "nontargets": "130", "backend": "cosine", "eer": "7.500",
    "eer_low": "4.100", "eer_high": "11.600", "mindcf_0.01": "0.5656", "mindcf_0.01_low": "", "mindcf_0.01_high": "",
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """Dev and test of four speakers with features and trials."""
    for name in ("dev", "test"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        ids = [f"{name}{number // 5}-{number:02}" for number in range(20)]
        with ArkWriter(folder / "f.ark", folder / "feats.scp", "fm") as writer:
            for number, key in enumerate(ids):
                writer.write(key, compute_fbank(noise_wave(1, seed=number) * 32768, FbankOptions()))
        (folder / "utt2spk").write_text("".join(f"{key} {key[:-3]}\n" for key in ids))
        (folder / "utt2dur").write_text("".join(f"{key} 180.0\n" for key in ids))
        (folder / "frontend.json").write_text(json.dumps(FbankOptions().to_dict()))
        lines = [f"{a} {b} {'' if a[:-3] == b[:-3] else 'non'}target\n" for a in ids for b in ids if a < b]
        (folder / "trials_main").write_text("".join(lines))
        (folder / "trials_few").write_text("".join(lines[::7]))
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path):
    torch.set_num_threads(1)
    path = save_model(tmp_path / "model.safetensors", results=[ROW])
    save_subnet(path, random_net("1-16-16-3-3-16"), etdnn.load_model(path).metadata)
    return path


def test_a_folder_with_all_precisions_compared(model, data, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "export"
    out.mkdir()
    (out / "model.fp16.onnx").write_text("of an earlier package")
    weights = etdnn.load_model(model).hash
    arguments = ["package", str(model), str(out), "--precisions", "fp32 fp16 int8", "--data", str(data)]
    assert main([*arguments, "--title", "toy speech", "--licence", "CC0", "--json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert {path.name for path in out.iterdir()} == {
        "MODEL_CARD.md", "example.py", "precisions.json", "int8_layers.txt",
        *(f"model{form}{precision}.onnx" for form in ("", ".wave") for precision in ("", ".fp16", ".int8")),
    }  # fmt: skip
    compared = {row["precision"]: row for row in rows if row["form"] == "fbank"}
    assert compared["fp32"]["bytes"] > compared["fp16"]["bytes"]
    assert compared["fp32"]["cosine"] == pytest.approx(1) and compared["int8"]["cosine"] > 0.98
    assert all(row["ms"] > 0 and 0 <= row["eer"] <= 100 for row in compared.values())
    assert compared["fp16"]["eer"] == pytest.approx(compared["fp32"]["eer"], abs=4)
    assert "list few" in compared["fp32"]["about"] and "kept as" in captured.err
    card = (out / "MODEL_CARD.md").read_text()
    for part in ("toy speech", "CC0", "4 speakers, 20 utterances, 1.0 h", "model.int8.onnx", "7.500 | 4.100 to 11.600"):
        assert part in card
    assert etdnn.load_model(model).hash == weights and read_subnet(model)[1]["corpus"]["licence"] == "CC0"
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "corpus: toy speech; licence: CC0" in shown
    assert "result: main, cosine: EER 7.500 % (4.100 to 11.600), minDCF(0.01) 0.5656" in shown
    before = model.read_bytes()
    room.note_corpus(model, "toy speech", "CC0", data)
    assert model.read_bytes() == before


def test_without_the_extra_only_the_card_is_written(model, tmp_path):
    blocked = f"import sys; sys.modules.update(dict.fromkeys({room.EXTRA}, None)); "
    blocked += "import importlib.util as u; found = u.find_spec; "
    blocked += f"u.find_spec = lambda name, *rest: None if name in {room.EXTRA} else found(name, *rest); "
    call = f"from etdnn.cli import main; sys.exit(main(['package', {str(model)!r}, {str(tmp_path / 'export')!r}]))"
    done = subprocess.run([sys.executable, "-c", blocked + call], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no ONNX files: onnx, onnxruntime, onnxscript missing; bash tools/install.sh --extras onnx" in done.stdout
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["MODEL_CARD.md"]
    assert "ONNX" not in (tmp_path / "export" / "MODEL_CARD.md").read_text()


def test_a_precision_that_harms_is_left_out(model, data, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(room, "CALIBRATION_UTTERANCES", 6)
    out = tmp_path / "export"
    assert main(["package", str(model), str(out), "--precisions", "fp32 int8", "--data", str(data)]) == 0
    assert not list(tmp_path.glob(".*")), "nothing is left beside the folder"
    assert "int8: left out: int8 needs at least 16 utterances for calibration, got 6" in capsys.readouterr().out
    assert {path.name for path in out.glob("*.onnx")} == {"model.onnx", "model.wave.onnx"}
    assert main(["package", str(model), str(out), "--precisions", "int8", "--data", str(data)]) == 1
    assert f"{out}: left as it was: no precision of int8 is fit" in capsys.readouterr().err
    assert (out / "model.onnx").is_file()


def test_a_failure_keeps_the_folder(model, data, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "MODEL_CARD.md").write_text("old")
    shutil.rmtree(data / "test")
    assert main(["package", str(model), str(tmp_path / "export"), "--data", str(data)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "export" / "MODEL_CARD.md").read_text() == "old"


def test_a_folder_of_other_files_is_not_replaced(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "notes").write_text("mine")
    before, held = sorted(tmp_path.iterdir()), model.read_bytes()
    monkeypatch.chdir(tmp_path)
    for folder, said in ((str(tmp_path), "holds "), (".", "holds "), ("notes", "a file; name a folder")):
        assert main(["package", str(model), folder, "--title", "toy speech"]) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before and model.read_bytes() == held


@pytest.mark.parametrize(
    "options, message",
    [(["--precisions", "bf16"], "one or several of fp32"), (["--precisions", "int8"], "needs --data")],
)
def test_usage(model, tmp_path, capsys, options, message):
    assert main(["package", str(model), str(tmp_path / "export"), *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "export").exists()


def test_card_of_a_bare_model_says_what_is_not_known(tmp_path):
    card = model_card(read_subnet(save_model(tmp_path / "m", thresholds={}))[1])
    for part in (
        "Licence of the corpus: not stated",
        "None measured",
        "etdnn calibrate",
        "No anti-spoofing",
        "301 frames",
    ):
        assert part in card


def test_card_names_the_origin_of_thresholds_and_of_published_results(tmp_path):
    own = {"from": "own recordings", "lists": ["mine.txt"], "targets": 7, "nontargets": 8,
           "points": {"eer": {"threshold": 0.31, "miss": 0.1, "false_accept": 0.1}}}  # fmt: skip
    path = save_model(tmp_path / "m", published={"file": "x", "EER": 9.99})
    metadata = read_subnet(path)[1]
    metadata["thresholds"]["own"] = own
    card = model_card(metadata)
    assert "| cosine | own recordings (mine.txt; 7 + 8 trials) | eer | 0.3100 | 10.00 | 10.00 |" in card
    assert "dev trials (clean, cross; 100 + 900 trials)" in card
    assert "Published with the checkpoint, not measured here: EER: 9.99." in card


def test_a_model_with_vad_has_no_waveform_form(model, data, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    frontend = FbankOptions(vad=True)
    save_subnet(
        model, random_net("1-16-16-3-3-16"), {**etdnn.load_model(model).metadata, "frontend": frontend.to_dict()}
    )
    for name in ("dev", "test"):
        (data / name / "frontend.json").write_text(json.dumps(frontend.to_dict()))
    out = tmp_path / "export"
    assert main(["package", str(model), str(out), "--data", str(data)]) == 0
    assert {path.name for path in out.iterdir()} == {"MODEL_CARD.md", "precisions.json", "model.onnx"}
    assert "no waveform form and no example: the front end has VAD" in "".join(capsys.readouterr())
    card = (out / "MODEL_CARD.md").read_text()
    assert "of voiced frames only (energy VAD)" in card and "sherpa-onnx has no such VAD" in card
    assert "model.wave.onnx" not in card and "example.py" not in card
    properties = onnx.load(out / "model.onnx").metadata_props
    values = {entry.key: entry.value for entry in properties}
    assert json.loads(values["etdnn"])["frontend"]["vad"] is True and "framework" not in values
    assert main(["export", str(model), str(tmp_path / "w.onnx"), "--form", "wave"]) == 1
    assert "front end with --vad=true: no waveform form of it" in capsys.readouterr().err
    assert not (tmp_path / "w.onnx").exists()
    assert main(["info", str(model)]) == 0
    assert "voiced frames only" in capsys.readouterr().out
    (data / "dev" / "frontend.json").write_text(json.dumps(FbankOptions().to_dict()))
    words = ["export", str(model), str(tmp_path / "q.onnx"), "--precision", "int8", "--calibration", str(data / "dev")]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "vad None (model: True)" in err and "FILE holding --vad=true" in err

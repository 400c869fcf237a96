import json

import numpy as np
import pytest
import soundfile
from helpers.models import noise_wave, save_model

import etdnn
from etdnn.cli import main
from etdnn.deploy import embed_scp as scp_room
from etdnn.deploy.gallery import Gallery, net_speech
from etdnn.errors import UserError
from etdnn.model.checkpoint import read_subnet
from etdnn.scoring.embeddings import read_embeddings

RATE = 16000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working folder with a model file and six recordings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETDNN_MODEL", "model.safetensors")
    save_model(tmp_path / "model.safetensors")
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", noise_wave(1.2, seed=number), RATE)
    return tmp_path


def call(capsys, *arguments) -> tuple[int, str, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_enrol_and_identify(folder, capsys):
    assert call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "0.wav", "1.wav")[0] == 0
    assert call(capsys, "enrol", "--gallery", "g", "--name", "Bob B", "2.wav", "3.wav")[0] == 0
    status, out, _err = call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "4.wav", "--json")
    assert json.loads(out) == {"name": "Ada", "recordings": 3, "speech": pytest.approx(1.2, abs=0.1), "people": 2}
    model, gallery = etdnn.load_model("model.safetensors"), Gallery.load("g")
    ada = [model.embed_file(f"{number}.wav") for number in (0, 1, 4)]
    mean = sum(vector / np.linalg.norm(vector) for vector in ada)
    probe = model.embed_file("5.wav")
    expected = float(mean @ probe / np.linalg.norm(mean) / np.linalg.norm(probe))
    assert dict(gallery.rank(probe))["Ada"] == pytest.approx(expected, abs=1e-5)
    status, out, _err = call(capsys, "identify", "--gallery", "g", "2.wav", "--json", "--exit-status")
    found = json.loads(out)
    scores = [entry["score"] for entry in found["nearest"]]
    assert status == 0 and scores == sorted(scores, reverse=True) and found["name"] == found["nearest"][0]["name"]
    status, out, _err = call(capsys, "identify", "--gallery", "g", "2.wav", "--threshold", "1.5", "--exit-status")
    assert status == 3 and out.startswith("nobody of the gallery (threshold 1.5000, given)")


def test_too_little_speech_is_refused_and_adds_up(folder, capsys):
    status, _out, err = call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "0.wav")
    assert status == 1 and "Ada: 1.2 s of net speech in 1 recordings; 2 s are needed" in err
    assert not (folder / "g").exists()
    assert call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "0.wav", "--min-speech", "1")[0] == 0
    assert call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "1.wav")[0] == 0


def test_other_models_are_refused_unless_aligned(folder, capsys):
    call(capsys, "enrol", "--gallery", "g", "--name", "Ada", "0.wav", "1.wav")
    save_model(folder / "other.safetensors", seed=1)
    status, _out, err = call(capsys, "identify", "--model", "other.safetensors", "--gallery", "g", "2.wav")
    assert status == 1 and "enrolled with another model" in err and err.count("\n") == 1
    for seed in (0, 1):
        save_model(folder / f"aligned{seed}.safetensors", seed=seed, embedding_space="supernet-x")
    call(capsys, "enrol", "--model", "aligned0.safetensors", "--gallery", "h", "--name", "Ada", "0.wav", "1.wav")
    assert call(capsys, "identify", "--model", "aligned1.safetensors", "--gallery", "h", "2.wav")[0] == 0


def test_unreadable_galleries(folder, capsys):
    (folder / "text").write_text("Ada")
    for gallery, message in [
        ("text", "not a readable safetensors file"),
        ("absent", "no such gallery (etdnn enrol makes one)"),
        (".", "a folder, not a gallery"),
        ("model.safetensors", "holds a subnet, a gallery is needed"),
    ]:
        status, out, err = call(capsys, "identify", "--gallery", gallery, "2.wav")
        assert status == 1 and out == "" and message in err and err.count("\n") == 1
    empty = Gallery.empty(etdnn.load_model("model.safetensors"))
    with pytest.raises(UserError, match="empty"):
        empty.rank(np.ones(192, np.float32))
    with pytest.raises(UserError, match="cannot be a name"):
        empty.enrol(" ", np.ones((1, 192), np.float32), 1.0)


def test_net_speech_leaves_pauses_out():
    wave = 32768 * np.concatenate([noise_wave(2), 1e-4 * noise_wave(3), noise_wave(1)])
    assert net_speech(wave, RATE) == pytest.approx(3, abs=0.2)
    assert net_speech(np.zeros(100), RATE) == 0


def test_calibrate_on_own_recordings(folder, capsys):
    pairs = [(a, b) for a in range(6) for b in range(a + 1, 6)]
    model = etdnn.load_model("model.safetensors")
    scores = {pair: model.similarity(f"{pair[0]}.wav", f"{pair[1]}.wav") for pair in pairs}
    limit = float(np.median(list(scores.values())))
    kind = {pair: "target" if score > limit else "nontarget" for pair, score in scores.items()}
    (folder / "mine.txt").write_text("".join(f"{a}.wav {b}.wav {kind[a, b]}\n" for a, b in pairs))
    arguments = ("calibrate", "--model", "model.safetensors", "--trials", "mine.txt")
    status, out, _err = call(capsys, *arguments, "--out", "own.safetensors", "--json")
    assert status == 0 and json.loads(out)["eer"] == 0
    own = etdnn.load_model("own.safetensors")
    for (a, b), label in kind.items():
        assert own.verify(f"{a}.wav", f"{b}.wav").same is (label == "target")
    assert own.threshold()[1] == "eer on own recordings (mine.txt): 7 target, 8 nontarget trials"
    assert "cosine" in own.metadata["thresholds"] and own.hash == model.hash
    assert "own" not in read_subnet("model.safetensors")[1]["thresholds"]
    (folder / "ids.txt").write_text("".join(f"u{a} u{b} {kind[a, b]}\n" for a, b in pairs))
    (folder / "wav.scp").write_text("".join(f"u{number} {number}.wav\n" for number in range(6)))
    status, out, _err = call(capsys, *arguments[:-1], "ids.txt", "--wav-scp", "wav.scp")
    assert status == 0 and "7 target and 8 nontarget" in out and "few trials" in out
    assert "own" in read_subnet("model.safetensors")[1]["thresholds"]


def test_calibrate_refuses_lists_that_cannot_do(folder, capsys):
    for text, message in [
        ("0.wav 9.wav target\n0.wav 1.wav nontarget\n", "'9.wav' is no file"),
        ("0.wav 1.wav target\n", "nontarget"),
        ("0.wav 1.wav maybe\n", "mine.txt:1"),
    ]:
        (folder / "mine.txt").write_text(text)
        before = (folder / "model.safetensors").read_bytes()
        status, _out, err = call(capsys, "calibrate", "--model", "model.safetensors", "--trials", "mine.txt")
        assert status == 1 and message in err and err.count("\n") == 1
        assert (folder / "model.safetensors").read_bytes() == before


def test_embed_scp_goes_on_where_it_stopped(folder, capsys, monkeypatch):
    monkeypatch.setattr(scp_room, "PART", 2)
    (folder / "broken.wav").write_text("no audio")
    lines = [f"u{number} {number}.wav" for number in range(5)] + ["u7 broken.wav"]
    (folder / "wav.scp").write_text("\n".join(lines) + "\n")
    model = etdnn.load_model("model.safetensors")
    asked = []

    def stop_at_third(path):
        asked.append(path)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return type(model).extract_file(model, path)

    monkeypatch.setattr(model, "extract_file", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        scp_room.embed_scp(model, "wav.scp", "x.ark", "x.scp")
    assert not (folder / "x.scp").exists()
    count, broken = scp_room.embed_scp(model, "wav.scp", "x.ark", "x.scp")
    assert count == 5 and list(broken) == ["u7"] and "broken.wav" in broken["u7"]
    assert asked[4:] == ["2.wav", "3.wav", "4.wav", "broken.wav"]
    assert not (folder / "x.scp.parts").exists()
    found = read_embeddings("x.scp")
    assert found.ids == [f"u{number}" for number in range(5)]
    np.testing.assert_array_equal(found.matrix[3], model.embed_file("3.wav"))


def test_embed_scp_command(folder, capsys):
    (folder / "wav.scp").write_text("a 0.wav\nb 1.wav\n")
    status, out, _err = call(capsys, "embed-scp", "wav.scp", "x.ark", "x.scp")
    assert status == 0 and out == "x.scp: 2 embeddings (fp32), 0 broken recordings left out\n"
    first = (folder / "x.ark").read_bytes()
    (folder / "x.scp.parts").mkdir()
    assert call(capsys, "embed-scp", "wav.scp", "x.ark", "x.scp")[0] == 0
    assert (folder / "x.ark").read_bytes() == first
    (folder / "wav.scp").write_text("a touch ran |\nb 1.wav\n")
    status, _out, err = call(capsys, "embed-scp", "wav.scp", "y.ark", "y.scp")
    assert status == 1 and "a command" in err and not (folder / "ran").exists()
    (folder / "wav.scp").write_text("".join(f"u{number:02} absent.wav\n" for number in range(11)))
    status, _out, err = call(capsys, "embed-scp", "wav.scp", "y.ark", "y.scp")
    assert status == 1 and "more than 10 broken recordings" in err and not (folder / "y.scp").exists()


def test_embed_scp_heeds_segments(folder, capsys):
    """Parts embed as files that hold them alone, and the segments belong to what parts were made of."""
    long = noise_wave(4.0, seed=9)
    soundfile.write("long.wav", long, RATE)
    (folder / "wav.scp").write_text("r1 long.wav\nr2 1.wav\n")
    (folder / "segments").write_text("a r1 0.5 1.7\nb r1 2.0 -1\nc r2 0 0.3\n")
    status, out, err = call(capsys, "embed-scp", "wav.scp", "x.ark", "x.scp")
    assert status == 0 and out == "x.scp: 2 embeddings (fp32), 1 broken recordings left out\n"
    assert "left out: c (part of 1.wav): 0.30 s of audio; at least 0.5 s are needed" in err
    model, found = etdnn.load_model("model.safetensors"), read_embeddings("x.scp")
    assert found.ids == ["a", "b"]
    samples = soundfile.read("long.wav", dtype="int16")[0]
    for row, (start, stop) in enumerate([(0.5, 1.7), (2.0, 4.0)]):
        soundfile.write("part.wav", samples[round(start * RATE) : round(stop * RATE)], RATE)
        np.testing.assert_array_equal(found.matrix[row], model.embed_file("part.wav"))
    (folder / "other.scp").write_bytes((folder / "wav.scp").read_bytes())
    assert call(capsys, "embed-scp", "other.scp", "y.ark", "y.scp")[0] == 0
    assert read_embeddings("y.scp").ids == ["r1", "r2"]
    (folder / "segments").write_text("a r1 0.5 1.7\nb r3 2.0 3.0\n")
    status, _out, err = call(capsys, "embed-scp", "wav.scp", "z.ark", "z.scp")
    assert (status, err.count("\n")) == (1, 1) and "segments:2: recording 'r3' is not in wav.scp" in err


def test_embed_scp_begins_anew_with_other_segments(folder, monkeypatch):
    monkeypatch.setattr(scp_room, "PART", 1)
    (folder / "wav.scp").write_text("r 0.wav\n")
    (folder / "segments").write_text("a r 0 0.6\nb r 0.1 0.7\n")
    model, said = etdnn.load_model("model.safetensors"), []

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scp_room.embed_scp(model, "wav.scp", "x.ark", "x.scp", say=stop)
    (folder / "segments").write_text("a r 0.5 1.1\nb r 0.1 0.7\n")
    scp_room.embed_scp(model, "wav.scp", "x.ark", "x.scp", say=said.append)
    assert said[0] == "x.scp.parts: made by another model or list; begun anew"
    samples = soundfile.read("0.wav", dtype="int16")[0]
    soundfile.write("part.wav", samples[round(0.5 * RATE) : round(1.1 * RATE)], RATE)
    np.testing.assert_array_equal(read_embeddings("x.scp").matrix[0], model.embed_file("part.wav"))


def test_calibrate_on_parts_of_recordings(folder, capsys):
    (folder / "wav.scp").write_text("r0 0.wav\nr1 1.wav\n")
    (folder / "segments").write_text("a r0 0 0.6\nb r0 0.6 1.2\nc r1 0 0.6\n")
    (folder / "ids.txt").write_text("a b target\na c nontarget\n")
    arguments = ("calibrate", "--model", "model.safetensors", "--wav-scp", "wav.scp", "--out", "own.safetensors")
    status, out, _err = call(capsys, *arguments, "--trials", "ids.txt")
    assert status == 0 and "1 target and 1 nontarget trials" in out
    (folder / "ids.txt").write_text("a r0 target\na c nontarget\n")
    status, _out, err = call(capsys, *arguments, "--trials", "ids.txt")
    assert status == 1 and "ids.txt: 'r0' is not in wav.scp" in err

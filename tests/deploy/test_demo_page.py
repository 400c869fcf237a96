"""The verification page in a real browser: `etdnn demo` as a user starts it, real files, real clicks."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.browser import Browser, find_programs, opened, web_runtime
from helpers.models import THRESHOLDS, random_net, save_model
from scipy.signal import resample_poly

import etdnn
from etdnn.cli import main
from etdnn.model.checkpoint import save_subnet

RATE = 16000
SHALLOW = "1-16-16-3-3-16"  # the exporter's time is by the number of layers
EXACT, CLOSE = 1e-3, 0.02
FORMATS = {
    # name: rate, channels, subtype, largest difference of scores
    "wav": (16000, 1, "PCM_16", EXACT),
    "24bit.wav": (16000, 1, "PCM_24", EXACT),
    "float.wav": (16000, 1, "FLOAT", EXACT),
    "flac": (16000, 1, None, EXACT),
    "8k.wav": (8000, 1, "PCM_16", CLOSE),
    "8k.flac": (8000, 1, None, CLOSE),
    "44k_stereo.wav": (44100, 2, "PCM_16", CLOSE),
    "96k_6.flac": (96000, 6, "PCM_24", CLOSE),
    "mp3": (16000, 1, None, CLOSE),
    "44k_stereo.mp3": (44100, 2, None, CLOSE),
    "ogg": (16000, 1, "VORBIS", CLOSE),
    "8k.ogg": (8000, 1, "VORBIS", CLOSE),
    "opus.ogg": (16000, 1, "OPUS", CLOSE),
}


@pytest.fixture(scope="module")
def speech(data_root) -> list[np.ndarray]:
    """Real recordings of three speakers, 2.8 to 6 s."""
    names = ("id35195/so762/00001.flac", "id31439/so762/00001.flac", "id39615/so762/00004.flac")
    read = [soundfile.read(data_root / "realspeech" / "wav" / name, dtype="float32") for name in names]
    assert all(rate == RATE for _wave, rate in read)
    return [wave for wave, _rate in read]


def spread_net(seed: int, path: Path, speech: list[np.ndarray]) -> None:
    """Write a random network to the model file `path` whose embeddings of the recordings point in all directions."""
    metadata, net = etdnn.load_model(path).metadata, random_net(SHALLOW, seed)
    norm = net.embedding_norm
    norm.bias.data.zero_()
    save_subnet(path, net, metadata)
    model = etdnn.load_model(path)
    mean = torch.from_numpy(np.mean([model.embed(wave, RATE) for wave in speech], axis=0))
    norm.running_mean += mean * (norm.running_var + norm.eps).sqrt() / norm.weight.detach()
    save_subnet(path, net, metadata)


@pytest.fixture(scope="module")
def models(speech, tmp_path_factory) -> dict[str, Path]:
    """Two model files, one with thresholds, and the other's export."""
    find_programs()
    web_runtime()
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for seed, name in enumerate(("small", "other")):
        made[name] = save_model(folder / f"{name}.safetensors", thresholds=THRESHOLDS if name == "small" else {})
        spread_net(seed, made[name], speech)
    made["exported"] = folder / "other.onnx"
    assert main(["export", str(made["other"]), str(made["exported"]), "--form", "wave"]) == 0
    return made


@pytest.fixture(scope="module")
def address(models):
    """The address that `etdnn demo` prints; the page is gone when it has ended."""
    command = [sys.executable, "-m", "etdnn", "demo", models["small"], models["exported"], "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(models["small"].parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)  \(small, other; Ctrl-C ends\)\n", line)
        assert found, line
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not list(models["small"].parent.glob("etdnn-demo.*"))


@pytest.fixture(scope="module")
def running():
    """A browser."""
    with opened() as browser:
        yield browser


@pytest.fixture
def page(running, address) -> Browser:
    """The page, fresh; nothing may be on the console and nothing asked of another origin when the test ends."""
    running.open(address)
    running.wait(lambda: running.run("return document.querySelectorAll('.clip').length === 2"))
    yield running
    assert running.console() == []
    others = [(method, url) for method, url in running.requests() if method != "GET" or not url.startswith(address)]
    assert not [(method, url) for method, url in others if not url.startswith(("blob:" + address, "data:"))]


def choose(page: Browser, clip: int, path: Path) -> None:
    page.type(f".clip:nth-of-type({clip}) input", str(path))
    label = f".clip:nth-of-type({clip}) .name"
    page.wait(lambda: page.text(label).startswith((f"{path.name}, ", "no recording")))


def score(page: Browser) -> float:
    page.wait(
        lambda: page.run("""const result = document.querySelector("#result");
        return result.getAttribute("aria-busy") === "false" && !document.querySelector("#numbers").hidden""")
    )
    return float(page.run('return document.querySelector("#score").dataset.value'))


def compare(page: Browser, first: Path, second: Path) -> float:
    choose(page, 1, first)
    choose(page, 2, second)
    return score(page)


def message(page: Browser, clip: int) -> str:
    return page.text(f".clip:nth-of-type({clip}) .message")


@pytest.fixture(scope="module")
def voices(speech, tmp_path_factory) -> tuple[Path, Path]:
    """Two recordings of two speakers."""
    folder = tmp_path_factory.mktemp("voices")
    soundfile.write(folder / "first.wav", speech[0][: 3 * RATE // 2], RATE)
    soundfile.write(folder / "second.flac", speech[1][: 5 * RATE // 2], RATE)
    return folder / "first.wav", folder / "second.flac"


@pytest.mark.parametrize("name", FORMATS)
def test_scores_are_the_python_runtimes(page, models, speech, tmp_path, name):
    rate, channels, subtype, tolerance = FORMATS[name]
    paths = []
    for number, wave in enumerate(speech[:2]):
        wave = 0.5 * resample_poly(wave, rate // np.gcd(rate, RATE), RATE // np.gcd(rate, RATE))
        paths.append(tmp_path / f"{number}.{name}")
        soundfile.write(paths[-1], np.outer(wave, np.linspace(1, 0.5, channels)).squeeze(), rate, subtype)
    expected = etdnn.load_model(models["small"]).similarity(*paths)
    assert abs(expected) < 0.95, "a score that can differ"
    assert compare(page, *paths) == pytest.approx(expected, abs=tolerance)


def test_long_recordings_are_cut_as_the_runtime_cuts_them(page, models, speech, voices, tmp_path):
    silence = np.zeros(35 * RATE, np.float32)
    wave = np.concatenate([speech[0], speech[1], np.zeros(22 * RATE, np.float32), silence, np.tile(speech[2], 3)])
    long = tmp_path / "long.flac"
    soundfile.write(long, wave, RATE)
    model = etdnn.load_model(models["small"])
    assert model.extract_file(long).windows == 2, "of three the second is silent, the last has the rest of 9 s"
    assert compare(page, long, voices[1]) == pytest.approx(model.similarity(long, voices[1]), abs=EXACT)


def test_result_threshold_and_decision(page, models, voices):
    compare(page, voices[0], voices[0])
    assert page.text("#decision") == "Same speaker" and page.text("#score") == "1.0000"
    assert page.text("#threshold") == "0.4000"
    assert "eer on dev trials of training (clean, cross): 100 target" in page.text("#result")
    assert re.fullmatch(r"\d+ ms", page.text("#time"))
    assert page.text("#size").endswith(" MB") and float(page.text("#size").split()[0]) > 0.5
    assert page.run("""const pen = document.querySelector("canvas").getContext("2d");
        return pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height).data.some(Boolean)""")
    assert page.run('return document.querySelector("canvas").ariaLabel') == "Waveform of first.wav, 1.5 seconds"
    different = compare(page, *voices)
    assert different == pytest.approx(etdnn.load_model(models["small"]).similarity(*voices), abs=EXACT)
    assert page.text("#decision") == ("Same speaker" if different >= 0.4 else "Different speakers")


def test_switching_models_with_the_keyboard(page, models, voices):
    before = compare(page, *voices)
    page.type("input[value=small]", "\ue015")  # arrow down
    page.wait(lambda: page.text("#threshold") == "none")
    assert score(page) == pytest.approx(etdnn.load_model(models["other"]).similarity(*voices), abs=EXACT)
    assert score(page) != pytest.approx(before, abs=EXACT)
    assert page.text("#decision") == "No decision: the model has no threshold"
    rows = page.run("return [...document.querySelectorAll('#models tr')].map((row) => row.innerText.split(/\\s+/))")
    assert [row[0] for row in rows] == ["small", "other"] and rows[0][4] == f"{before:.4f}" != rows[1][4]
    page.click("input[value=small]")
    page.wait(lambda: page.text("#threshold") == "0.4000")
    assert score(page) == before, "known embeddings are not computed again"
    choose(page, 1, voices[1])
    score(page)
    assert page.run("return document.querySelectorAll('#models tr')[1].cells[4].textContent") == ""


def test_bad_files_get_a_message(page, speech, voices, tmp_path):
    wave = speech[0][:RATE]
    soundfile.write(tmp_path / "short.wav", wave[:1600], RATE)
    soundfile.write(tmp_path / "silence.wav", np.full(RATE, 0.1), RATE)
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(RATE) == 99, np.nan, wave), RATE, "FLOAT")
    soundfile.write(tmp_path / "endless.wav", np.resize(speech[0], 660 * 4000), 4000, "PCM_U8")
    (tmp_path / "text.wav").write_text("not audio at all")
    (tmp_path / "empty.flac").write_bytes(b"")
    (tmp_path / "header.wav").write_bytes((tmp_path / "short.wav").read_bytes()[:20])
    expected = {
        "short.wav": "0.10 s of audio; at least 0.5 s are needed",
        "silence.wav": "silence; there is no speech in it",
        "nan.wav": "samples that are not finite numbers",
        "endless.wav": "11 minutes; the page takes up to 10 (etdnn verify has no limit)",
        "text.wav": "not audio that this browser can read",
        "empty.flac": "an empty file",
        "header.wav": "not audio that this browser can read",
    }
    compare(page, *voices)
    for name, said in expected.items():
        choose(page, 2, tmp_path / name)
        assert message(page, 2) == f"{name}: {said}"
        assert page.text("#decision") == "Two recordings are needed."
    choose(page, 2, voices[1])
    score(page)
    assert not message(page, 2)


def test_dropping_two_files(page, voices):
    page.run("""const samples = document.createElement("input");
        Object.assign(samples, { type: "file", id: "probe", multiple: true });
        document.body.append(samples);""")
    page.type("#probe", "\n".join(map(str, voices)))
    page.run("""const dataTransfer = new DataTransfer();
        for (const file of document.querySelector("#probe").files) dataTransfer.items.add(file);
        document.querySelector("h1").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));""")
    score(page)
    names = [page.text(f".clip:nth-of-type({clip}) .name") for clip in (1, 2)]
    assert names == ["first.wav, 1.5 s", "second.flac, 2.5 s"]


def test_recording(address, voices):
    with opened(f"--use-file-for-fake-audio-capture={voices[0]}") as page:
        page.open(address)
        page.wait(lambda: page.run("return document.querySelectorAll('.clip').length === 2"))
        choose(page, 1, voices[0])
        button = ".clip:nth-of-type(2) .record"
        page.click(button)
        page.wait(lambda: re.match(r"recording: [3-9] s of at most 60 s", page.text(".clip:nth-of-type(2) .name")))
        assert page.text(button) == "Stop"
        page.click(button)
        page.wait(lambda: page.text(".clip:nth-of-type(2) .name").startswith("recording B.wav, "))
        assert score(page) > 0.5
        assert page.text(button) == "Record" and page.console() == []


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_no_sideways_scrolling_and_readable_colours(page, voices, width, dark):
    page.resize(width, 900, dark=dark)
    compare(page, *voices)
    for part in ("html", ".wide"):
        overflow = "const it = document.querySelector(arguments[0]); return it.scrollWidth - it.clientWidth"
        assert page.run(overflow, part) <= 0
    ground, ink = (
        [int(value) for value in re.findall(r"\d+", page.run(f"return getComputedStyle(document.body).{name}"))]
        for name in ("backgroundColor", "color")
    )
    assert abs(sum(ground) - sum(ink)) > 450 and (sum(ground) < sum(ink)) == dark


def test_every_control_has_a_name(page):
    unnamed = page.run("""return [...document.querySelectorAll("button, input, audio, canvas, section")].filter(
        (part) => !(part.ariaLabel || part.getAttribute("aria-labelledby") || part.labels?.length || part.innerText))
        .filter((part) => !part.hidden).map((part) => part.outerHTML)""")
    assert unnamed == []


def test_a_plain_server_and_the_policy(running, models, voices, tmp_path):
    folder, subnet = tmp_path / "site" / "page", tmp_path / "exp" / "subnet" / "20M"
    (subnet / "export").mkdir(parents=True)
    shutil.copy(models["other"], subnet / "model.safetensors")
    shutil.copy(models["exported"], subnet / "export" / "model.wave.onnx")
    for _time in ("new", "replaced"):
        assert main(["demo", "--expdir", str(tmp_path / "exp"), "--static", str(folder)]) == 0
        assert (folder / "models" / "20M.onnx").read_bytes() == models["exported"].read_bytes(), "not exported again"
    assert [path.name for path in folder.parent.iterdir()] == ["page"]

    class Quiet(SimpleHTTPRequestHandler):
        log_message = end_message = lambda *_arguments: None

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder.parent))) as site,
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as other,
    ):
        for server in (site, other):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        running.open(f"http://127.0.0.1:{site.server_port}/page/")
        running.wait(lambda: running.run("return document.querySelectorAll('.clip').length === 2"))
        assert compare(running, *voices) == pytest.approx(
            etdnn.load_model(models["other"]).similarity(*voices), abs=EXACT
        )
        assert running.console() == []
        outside = f"http://127.0.0.1:{other.server_port}/models.json"
        fetched = "return fetch(arguments[0], {mode: 'no-cors'}).then(() => 'sent', () => 'blocked')"
        assert running.run(fetched, "models.json") == "sent"
        assert running.run(fetched, outside) == "blocked"
        assert any("Content Security Policy" in line for line in running.console())
        for server in (site, other):
            server.shutdown()

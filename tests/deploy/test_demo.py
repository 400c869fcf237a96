"""The page's folder, its server and the command, without a browser."""

import http.client
import json
import re
import threading
from pathlib import Path

import pytest
from helpers.browser import web_runtime
from helpers.models import save_model

from etdnn.cli import main
from etdnn.deploy import demo
from etdnn.deploy.export import onnx_metadata
from etdnn.deploy.runtime import load_model
from etdnn.deploy.serve import POLICY, open_server
from etdnn.errors import UserError


@pytest.fixture
def server(tmp_path):
    (tmp_path / "page").mkdir()
    for name in ("index.html", "app.js", "ort.mjs", "ort.wasm", "models.json", "x.onnx"):
        (tmp_path / "page" / name).write_text("content")
    (tmp_path / "page" / "models").mkdir()
    (tmp_path / "secret").write_text("elsewhere")
    with open_server(tmp_path / "page", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server, path: str, method: str = "GET", body: str | None = None, headers: dict | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    answer.text = answer.read().decode()
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/ort.mjs", "text/javascript; charset=utf-8"),
        ("/ort.wasm", "application/wasm"),
        ("/models.json", "application/json"),
        ("/x.onnx", "application/octet-stream"),
    ],
)
def test_files_have_the_types_that_browsers_insist_on(server, path, kind):
    answer = ask(server, path)
    assert (answer.status, answer.text, answer.getheader("Content-Type")) == (200, "content", kind)
    assert answer.getheader("Content-Security-Policy") == POLICY
    assert answer.getheader("X-Content-Type-Options") == "nosniff" and answer.getheader("Cache-Control") == "no-store"


def test_the_server_gives_nothing_else_and_takes_nothing(server):
    assert server.server_address[0] == "127.0.0.1"
    for path in ("/models/", "/../secret", "/%2e%2e/secret", "/none"):
        assert ask(server, path).status == 404
    assert ask(server, "/", "POST", "voice").status == 501
    assert ask(server, "/new", "PUT", "voice").status == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:1", 200), ("localhost:9000", 200), ("LOCALHOST", 200), ("evil.example:80", 421), ("", 421)],
)
def test_only_names_of_this_machine_are_answered(server, host, status):
    answer = ask(server, "/models.json", headers={"Host": host})
    assert answer.status == status and (answer.text == "content") == (status == 200)


def test_the_page_has_the_servers_policy():
    html = (Path(demo.__file__).parent / "web" / "index.html").read_text()
    assert re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1] + "; frame-ancestors 'none'" == POLICY


def test_names():
    models = [
        "exp/subnet/20M/model.safetensors",
        "a b.onnx",
        "other/a b.safetensors",
        "20M/export/model.wave.onnx",
        "20M/export/model.wave.int8.onnx",
    ]
    assert demo.page_names(models) == ["20M", "a_b", "a_b-2", "20M-2", "20M.int8"]
    assert demo.page_names(["a-2.onnx", "x/a.onnx", "y/a.onnx", "z/a.onnx"]) == ["a-2", "a", "a-3", "a-4"]


def test_experiments_are_listed_by_size(tmp_path):
    for name, size in (("largest", 30), ("20M", 10), ("100M", 20)):
        (tmp_path / "subnet" / name).mkdir(parents=True)
        (tmp_path / "subnet" / name / "model.safetensors").write_bytes(bytes(size))
    assert [path.parent.name for path in demo.experiment_models(tmp_path)] == ["20M", "100M", "largest"]
    with pytest.raises(UserError, match="no subnet/.*stage 5 makes them"):
        demo.experiment_models(tmp_path / "subnet")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "no model: give MODEL files, or --expdir with a finished experiment"),
        (["m.safetensors", "--static", "x", "--port", "8000"], 2, "--static writes a folder and --port serves one"),
        (["m.safetensors", "--runtime", "{tmp}"], 1, "onnxruntime-web is not installed ({tmp}/ort.wasm.min.mjs is "
         "missing): bash tools/install_web.sh"),
        (["--expdir", "{tmp}"], 1, "{tmp}: no subnet/*/model.safetensors in it; stage 5 makes them"),
    ],
)  # fmt: skip
def test_command_line_mistakes(tmp_path, capsys, words, status, message):
    assert main(["demo", *(word.format(tmp=tmp_path) for word in words)]) == status
    error = capsys.readouterr().err.strip()
    assert message.format(tmp=tmp_path) in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("port", ["taken", "70000"])
def test_ports(server, capsys, port):
    runtime = web_runtime()
    number = str(server.server_port) if port == "taken" else port
    status = main(["demo", "m.safetensors", "--runtime", str(runtime), "--port", number])
    expected = {
        "taken": (1, f"port {number}: in use; give another --port, or --port 0 for any free one"),
        "70000": (2, "--port 70000: ports go from 0 (any free one) to 65535"),
    }
    assert (status, capsys.readouterr().err) == (expected[port][0], f"etdnn demo: error: {expected[port][1]}\n")


@pytest.mark.parametrize("model", ["none.safetensors", "none.onnx", "foreign.onnx", "broken.safetensors"])
def test_what_is_no_model_leaves_no_page(tmp_path, capsys, model):
    runtime = web_runtime()
    (tmp_path / "foreign.onnx").write_text("no graph")
    save_model(tmp_path / "broken.safetensors", calibrated=False)
    status = main(["demo", str(tmp_path / model), "--runtime", str(runtime), "--static", str(tmp_path / "page")])
    assert status == 1 and str(tmp_path / model) in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "page").exists() and not list(tmp_path.glob(".page*"))


@pytest.mark.parametrize("absent", ["form", "threshold_origin"])
def test_metadata_of_another_version_is_named(tmp_path, monkeypatch, absent):
    about = onnx_metadata(load_model(save_model(tmp_path / "model.safetensors")), "wave")
    own = json.loads(about["etdnn"])
    del own[absent]
    monkeypatch.setattr(demo, "read_properties", lambda _file: about | {"etdnn": json.dumps(own)})
    with pytest.raises(UserError, match=f"model.onnx: its metadata has no '{absent}'"):
        demo.read_about(tmp_path / "model.onnx", tmp_path / "model.onnx")


def test_other_folders_are_left_alone(tmp_path, capsys):
    runtime = web_runtime()
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["demo", "m.onnx", "--runtime", str(runtime), "--static", str(tmp_path)]) == 1
    assert "holds other files; name a new or an empty folder" in capsys.readouterr().err
    for name in ("models.json", "models", "ort"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    (tmp_path / "mine" / "added.html").write_text("to an earlier page")
    assert main(["demo", "m.onnx", "--runtime", str(runtime), "--static", str(tmp_path / "mine")]) == 1
    assert "holds other files" in capsys.readouterr().err and (tmp_path / "mine" / "added.html").is_file()
    assert main(["demo", "m.onnx", "--runtime", str(runtime), "--static", str(tmp_path / "notes.txt")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "notes.txt"]

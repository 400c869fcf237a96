"""Show models in a page that compares two voices in the browser; no audio leaves it.

etdnn demo model.safetensors [model2.safetensors ...]    on this machine, http://127.0.0.1:8642/
etdnn demo --expdir exp/mini                              all subnets of an experiment
etdnn demo --expdir exp/mini --static DIR                 a folder for any web server (https, or localhost)

Models may also be ONNX files of etdnn export --form wave. Needs onnxruntime-web: bash tools/install_web.sh
"""

import argparse
import sys
from functools import partial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from etdnn.deploy.serve import PORT

    parser.add_argument("models", nargs="*", metavar="MODEL", help="model file, or its export of the form wave")
    parser.add_argument("--expdir", help="an experiment: its subnet/*/model.safetensors, after the models named")
    parser.add_argument("--port", type=int, help=f"port of the page (default {PORT}; 0: any free one)")
    parser.add_argument("--static", metavar="DIR", help="write the page to DIR and end")
    parser.add_argument("--runtime", metavar="DIR", help="folder of onnxruntime-web's files (default tools/web)")


def run(args: argparse.Namespace) -> None:
    """Write the page; serve it until interrupted, unless it is asked for as a folder."""
    from etdnn.deploy import demo
    from etdnn.deploy.serve import PORT, open_server
    from etdnn.errors import UsageError

    models = [*args.models, *(demo.experiment_models(args.expdir) if args.expdir else [])]
    if not models:
        raise UsageError("no model: give MODEL files, or --expdir with a finished experiment")
    if args.static and args.port is not None:
        raise UsageError("--static writes a folder and --port serves one: give one of them")
    say = partial(print, file=sys.stderr)  # a model takes some seconds to export
    runtime = demo.check_runtime(args.runtime or demo.RUNTIME)
    if args.static:
        offered = demo.build_page(models, args.static, runtime, say)
        print(f"{args.static}: page with {', '.join(model.name for model in offered)}; put it on a web server")
        return
    import tempfile
    from contextlib import suppress
    from pathlib import Path

    from etdnn.deploy.serve import HOST, ends_when_told

    with ends_when_told(), tempfile.TemporaryDirectory(prefix="etdnn-demo.") as folder:
        page = Path(folder) / "page"
        with open_server(page, PORT if args.port is None else args.port) as server:
            offered = demo.build_page(models, page, runtime, say)
            names = ", ".join(model.name for model in offered)
            print(f"http://{HOST}:{server.server_port}/  ({names}; Ctrl-C ends)", flush=True)
            with suppress(KeyboardInterrupt):
                server.serve_forever()

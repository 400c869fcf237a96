import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from etdnn.cli import main
from etdnn.deploy.latency import (
    Setting,
    check_table,
    fit_correction,
    grid_axes,
    measure_table,
    part_module,
    random_nets,
    thinned,
)
from etdnn.errors import UserError
from etdnn.model.latency import PARTS, LatencyTable
from etdnn.model.space import SearchSpace
from etdnn.search.population import archs_to_rows

SMALL = SearchSpace("small", depths=(1, 2), widths=(16, 32), kernels=(1, 3), cats=(24, 48))
QUICK = Setting(frames=40, repeats=3, warmup=1)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return measure_table(SMALL, QUICK, say=lambda *_: None)


def test_a_measured_table_covers_the_space_and_predicts_seconds(table):
    assert set(table.parts) == set(PARTS) and all((grid.seconds > 0).all() for grid in table.parts.values())
    for arch, guess, found in check_table(table, SMALL, QUICK, 4, seed=1):
        assert SMALL.contains(arch) and found / 10 < guess < found * 10  # busy machines: only the order of magnitude
    assert {"machine", "backend", "threads", "batch", "frames", "versions", "date"} <= set(table.about)


def test_part_modules_have_the_shapes_of_the_net():
    for part, axes in grid_axes(SMALL).items():
        module, form = part_module(part, [axis[-1] for axis in axes], SMALL)
        result = module.eval()(torch.randn(2, *(size or 30 for size in form)))
        assert len(result) == 2 and torch.isfinite(result).all()


def test_correction_recovers_scale_and_offset():
    predicted = np.array([1.0, 2.0, 5.0, 9.0])
    assert np.allclose(fit_correction(predicted, 1.3 * predicted + 0.2), (1.3, 0.2))
    scale, offset = fit_correction(predicted, 1.3 * predicted - 0.2)
    assert offset == 0 and 1 < scale < 1.3


def test_thinning_keeps_the_ends_and_draws_repeat():
    assert thinned(range(10), 4) == (0, 3, 6, 9) and thinned((1, 2), 5) == (1, 2)
    assert random_nets(SMALL, 5, 0) == random_nets(SMALL, 5, 0) != random_nets(SMALL, 5, 1)


def test_command_writes_a_table_and_refuses_nonsense(tmp_path, capsys):
    (tmp_path / "space.yaml").write_text("name: s\ndepth: [1]\nwidth: [16]\nkernel: [1, 3]\ncat: [24]\n")
    call = ["latency", "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "t.json"), "--frames", "30"]
    assert main([*call, "--repeats", "2", "--check", "2", "--device", "cpu"]) == 0
    assert "median error" in capsys.readouterr().out
    assert main([*call, "--repeats", "1", "--check", "1", "--device", "cpu", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["frames"] == 30 and about["checks"][0]["measured"] > 0
    assert LatencyTable.load(tmp_path / "t.json").about["frames"] == 30
    assert main(["latency", "--out", "t.json"]) == 2 and "--space with --out" in capsys.readouterr().err
    assert main([*call, "--backend", "tensorrt"]) == 1 and "neither" in capsys.readouterr().err
    with pytest.raises(UserError, match="--threads 0"):
        Setting(threads=0)


def test_bundle_is_measured_by_its_own_runner_and_comes_back(tmp_path, capsys):
    """In a Python that sees neither etdnn nor torch, as on a device."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    (tmp_path / "space.yaml").write_text("name: s\ndepth: [1]\nwidth: [16]\nkernel: [1, 3]\ncat: [24, 32]\n")
    bundle = tmp_path / "bundle"
    call = ["latency", "--space", str(tmp_path / "space.yaml"), "--bundle", str(bundle), "--frames", "30"]
    assert main([*call, "--check", "2"]) == 0
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "measure.py", "models.zip"]
    hidden = "import sys; sys.modules['torch'] = sys.modules['etdnn'] = None; import runpy; "
    command = f"{hidden}sys.argv = ['measure.py', '--repeats', '2', '--machine', 'Phone', '--out', 'm.json']; "
    command += "runpy.run_path('measure.py', run_name='__main__')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", command], cwd=bundle, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "bring it back" in done.stdout, done.stderr
    capsys.readouterr()
    table = tmp_path / "table.json"
    assert main(["latency", "--measured", str(bundle / "m.json"), "--out", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "Phone, 1 threads, batch 1, 30 frames" in shown and "of 2 nets" in shown
    loaded = LatencyTable.load(table)
    space = SearchSpace.load(tmp_path / "space.yaml")
    assert loaded.foreign() and (loaded.predict(archs_to_rows([space.largest, space.smallest], space)) > 0).all()
    measured = json.loads((bundle / "m.json").read_text())
    assert loaded.parts["stem"].seconds.tolist() == [[measured["seconds"][f"stem-16-{kernel}"] for kernel in (1, 3)]]
    (bundle / "m.json").write_text(json.dumps({**measured, "seconds": {}}))
    assert main(["latency", "--measured", str(bundle / "m.json"), "--out", str(table)]) == 1
    assert "not what measure.py" in capsys.readouterr().err

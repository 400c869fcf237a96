import json

import pytest
from helpers.models import random_net, save_model

from etdnn.cli import main
from etdnn.deploy.latency import Setting
from etdnn.deploy.speed import alternate, compare, measure_speed
from etdnn.errors import UserError


def test_rounds_alternate_and_the_second_call_counts():
    ticks, order = iter(range(1000)), []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = alternate(calls, 3, lambda: float(next(ticks)))
    assert order == ["a", "a", "b", "b"] * 4  # the first round warms up
    assert times == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_comparison_is_with_the_first_way():
    times = {"plain": [4.0, 2.0, 6.0], "fp32": [2.0, 1.0, 2.0], "bf16": [1.0, 1.0, 1.0]}
    plain, exact, reduced = compare(times, 80, {"fp32": 40.0, "bf16": 160.0})
    assert (plain.seconds, plain.macs_per_second, plain.share, plain.ratio) == (4, 20, 0.5, 1)
    assert (exact.macs_per_second, exact.share, exact.ratio) == (40, 1, 2)
    assert (reduced.macs_per_second, reduced.share, reduced.ratio) == (80, 0.5, 4)


def test_command_shows_the_speed_of_a_model(tmp_path, capsys):
    model = save_model(tmp_path / "m.safetensors")
    call = ["latency", str(model), "--frames", "50", "--repeats", "2"]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("ms/utterance", "real-time factor", "of peak", "plain", "fp32", "bf16"))
    assert main([*call, "--batch", "2", "--threads", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["way"] for row in found["ways"]] == ["plain", "fp32", "bf16"] and found["threads"] == 2
    assert all(row["seconds"] > 0 and row["macs_per_second"] > 0 for row in found["ways"])
    assert set(found["peak_macs_per_second"]) == {"fp32", "bf16"} and found["seconds_of_audio"] == 0.5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "give a model, or --space with --out"),
        (("MODEL", "--space", "paper_coarse"), "a model file is measured by itself"),
        (("MODEL", "--out", "table.json"), "a model file is measured by itself"),
        (("--space", "paper_coarse"), "give a model, or --space with --out"),
        (("MODEL", "--device", "cuda"), "measured on the CPU"),
        (("absent.safetensors",), "no such model file"),
        (("MODEL", "--repeats", "0"), "--repeats 0"),
    ],
)
def test_refusals_of_the_command(tmp_path, capsys, arguments, message):
    model = save_model(tmp_path / "m.safetensors")
    assert main(["latency", *(str(model) if word == "MODEL" else word for word in arguments)]) in (1, 2)
    assert message in capsys.readouterr().err


def test_an_uncalibrated_network_is_not_measured():
    net = random_net()
    net.calibrated = False
    with pytest.raises(UserError, match="never re-estimated"):
        measure_speed(net, Setting(frames=20, repeats=1))

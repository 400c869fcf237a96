"""The command line: names of commands, mistakes in one line, exit status."""

import pytest

from etdnn.cli import commands, main
from etdnn.files import atomic_path


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["cots", "1"], ["no command 'cots'", "did you mean 'cost'?"]),
        (["make-fbank"], ["etdnn make-fbank: error: the following arguments are required", "--help"]),
        (["cost", "1-8-8-1-1-24", "--jsn"], ["unknown option --jsn (did you mean --json?)"]),
        (["cost", "1-8-8-1-1-24", "--quite-another=3"], ["unknown option --quite-another;"]),
        (["budgets", "--macs-budget"], ["argument --macs-budget: expected one argument"]),
        (["make-fbank", "--seed", "x", "data", "out"], ["argument --seed: invalid int value: 'x'"]),
        (["train", "--stop-after", "0"], ["--stop-after: '0' is not a number of minutes above 0"]),
        (["finetune", "--stop-after=1h"], ["--stop-after: '1h' is not a number of minutes above 0"]),
        (["budgets", "--macs-budget=-5M"], ["macs budget '-5M': write it as 204M"]),
    ],
)
def test_mistakes_in_the_call_are_one_line_and_status_2(capsys, words, parts):
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert (status, said.out, said.err.count("\n")) == (2, "", 1), said.err
    for part in parts:
        assert part in said.err


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help(capsys, name):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: etdnn {name}")
    assert len(text.splitlines()) > 4


def test_options_are_taken_with_underscores_too(capsys):
    assert main(["budgets", "--macs_budget=204M 571M"]) == 0
    assert capsys.readouterr().out == "204M\n571M\n"


def test_a_full_disc_is_named_with_the_file(capsys, tmp_path):
    """The system's error of a write has no name of a file."""
    target = tmp_path / "a.yaml"
    with pytest.raises(OSError, match="No space left") as raised, atomic_path(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x")
    assert raised.value.filename == str(target)
    assert not list(tmp_path.iterdir())

"""`python3 -m etdnn COMMAND`: finds the worker of a command, runs it, turns a user's mistakes into one line.

A command is a module of this package (`make_fbank.py` is `make-fbank`, `import_.py` is `import`) with a docstring whose
first line is its help, `add_arguments(parser)` and `run(args)`. Modules import heavy libraries inside `run`, so that
help is instant.
"""

import argparse
import difflib
import os
import pkgutil
import sys
from importlib import import_module

from etdnn.errors import UserError


def commands() -> list[str]:
    """Return the names of all commands, sorted."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """Map command to module; a trailing underscore keeps a module's name clear of Python's keywords."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    return {name.rstrip("_").replace("_", "-"): f"etdnn.cli.{name}" for name in names}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status (0 well, 1 a mistake in the data, 2 a mistake in the command line)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        from etdnn import __version__

        print(f"etdnn {__version__}")
        return 0
    name = argv[0].replace("_", "-")
    if name not in commands():
        near = difflib.get_close_matches(name, commands(), 1)
        hint = f"did you mean '{near[0]}'?" if near else "see etdnn --help"
        print(f"etdnn: error: no command '{argv[0]}' ({hint})", file=sys.stderr)
        return 2
    module = import_module(_modules()[name])
    parser = _Parser(
        prog=f"etdnn {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return _run(name, module, parser.parse_args([_with_dashes(word) for word in argv[1:]]))


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, with the nearest option where one is unknown."""

    def error(self, message: str):
        """Print the line and exit with status 2."""
        unknown = message.removeprefix("unrecognized arguments: ").partition("=")[0].partition(" ")[0]
        if message.startswith("unrecognized arguments: --"):
            options = [option for option in self._option_string_actions if option.startswith("--")]
            near = difflib.get_close_matches(unknown, options, 1)
            message = f"unknown option {unknown}" + (f" (did you mean {near[0]}?)" if near else "")
        print(f"{self.prog}: error: {message}; --help lists the options", file=sys.stderr)
        sys.exit(2)


def _run(name: str, module, args: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: results do not depend on the cores
    try:
        return module.run(args) or 0
    except UserError as error:
        print(f"etdnn {name}: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output left: not an error
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"etdnn {name}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"etdnn {name}: interrupted", file=sys.stderr)
        return 130


def _with_dashes(word: str) -> str:
    """Return `--macs_budget=1` as `--macs-budget=1`: options are accepted with dashes or underscores."""
    if not word.startswith("--"):
        return word
    option, equals, value = word.partition("=")
    return option.replace("_", "-") + equals + value


def _overview() -> str:
    lines = ["usage: etdnn COMMAND [options]   (etdnn COMMAND --help for each)", "", "commands:"]
    for name, module in sorted(_modules().items()):
        doc = import_module(module).__doc__ or ""
        lines.append(f"  {name:<20} {doc.strip().splitlines()[0] if doc.strip() else ''}")
    return "\n".join(lines)

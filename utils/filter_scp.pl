#!/usr/bin/env python3
"""Print the lines of SCP whose id is the first word of a line of IDS.

Usage: filter_scp.pl [--exclude] [-f FIELD] IDS [SCP] > FILTERED        (standard input without SCP)

  --exclude   print the other lines instead
  -f FIELD    the id is this word of a line of SCP (default 1, the first)
"""

import sys
from pathlib import Path


def fail(text, status=1):
    """Print one line and exit."""
    print(f"filter_scp.pl: {text}", file=sys.stderr)
    sys.exit(status)


def main(words):
    """Filter as the command line says."""
    exclude, field = False, 1
    while words and words[0].startswith("-") and words[0] != "-":
        option = words.pop(0)
        if option in ("--help", "-h"):
            print(__doc__, end="")
            return
        if option == "--exclude":
            exclude = True
        elif option == "-f" and words and words[0].isdecimal() and int(words[0]) > 0:
            field = int(words.pop(0))
        else:
            fail(f"unknown option or missing value: {option}; --help shows the form", 2)
    if len(words) not in (1, 2):
        fail("expected IDS [SCP]; --help shows the form", 2)
    if words[0] == "-" and len(words) == 1:
        fail("IDS and SCP cannot both be standard input", 2)
    with Path("/dev/stdin" if words[0] == "-" else words[0]).open(encoding="utf-8") as handle:
        wanted = {line.split(None, 1)[0] for line in handle if not line.isspace()}
    source = words[1] if len(words) == 2 and words[1] != "-" else "/dev/stdin"
    with Path(source).open(encoding="utf-8", newline="\n") as handle:
        for number, line in enumerate(handle, 1):
            part = line.split(None, field)
            if len(part) < field:
                fail(f"{source}:{number}: expected {field} words or more, found: {line.rstrip()[:80]}")
            if (part[field - 1] in wanted) != exclude:
                sys.stdout.write(line)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnicodeDecodeError:
        fail("input: not UTF-8 text")
    except OSError as error:
        fail(f"{error.filename or 'output'}: {error.strerror}")

#!/usr/bin/env python3
"""Turn `speaker utterance...` lines into `utterance speaker` lines, in their order.

Usage: spk2utt_to_utt2spk.pl [SPK2UTT] > UTT2SPK        (standard input without a file; sort the output if needed)
"""

import fileinput
import sys


def main():
    """Read and print; a speaker without utterances or a repeated utterance ends with file, line and status 1."""
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print(__doc__, end="")
        return 0
    if sys.argv[1:2] and sys.argv[1].startswith("--"):
        print(f"spk2utt_to_utt2spk.pl: unknown option {sys.argv[1]}; --help shows the form", file=sys.stderr)
        return 2
    rows, seen = [], 0
    with fileinput.input(encoding="utf-8") as lines:
        utterances = set()
        for line in lines:
            fields = line.split()
            utterances.update(fields[1:])
            seen += len(fields[1:])
            if len(fields) < 2 or len(utterances) != seen:
                fault = "an utterance is there twice" if len(fields) >= 2 else "expected SPEAKER UTTERANCE..."
                place = f"{lines.filename()}:{lines.filelineno()}"
                print(f"spk2utt_to_utt2spk.pl: {place}: {fault}, found: {line.rstrip()[:80]}", file=sys.stderr)
                return 1
            rows += [f"{utterance} {fields[0]}\n" for utterance in fields[1:]]
    sys.stdout.writelines(rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or "input"
        sys.exit(f"spk2utt_to_utt2spk.pl: {where}: {getattr(error, 'strerror', 'not UTF-8 text')}")

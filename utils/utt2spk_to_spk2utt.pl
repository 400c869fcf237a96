#!/usr/bin/env python3
"""Turn `utterance speaker` lines into `speaker utterance...` lines, in the order of the speakers' first lines.

Usage: utt2spk_to_spk2utt.pl [UTT2SPK] > SPK2UTT        (standard input without a file)
"""

import fileinput
import sys


def main():
    """Read, group, print; a malformed line or a repeated utterance ends with file, line and status 1."""
    if sys.argv[1:2] in (["--help"], ["-h"]):
        print(__doc__, end="")
        return 0
    if sys.argv[1:2] and sys.argv[1].startswith("--"):
        print(f"utt2spk_to_spk2utt.pl: unknown option {sys.argv[1]}; --help shows the form", file=sys.stderr)
        return 2
    groups, seen = {}, set()
    with fileinput.input(encoding="utf-8") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) != 2 or fields[0] in seen:
                fault = "the utterance is there twice" if len(fields) == 2 else "expected UTTERANCE SPEAKER"
                place = f"{lines.filename()}:{lines.filelineno()}"
                print(f"utt2spk_to_spk2utt.pl: {place}: {fault}, found: {line.rstrip()[:80]}", file=sys.stderr)
                return 1
            seen.add(fields[0])
            groups.setdefault(fields[1], []).append(fields[0])
    sys.stdout.writelines(f"{speaker} {' '.join(utterances)}\n" for speaker, utterances in groups.items())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or "input"
        sys.exit(f"utt2spk_to_spk2utt.pl: {where}: {getattr(error, 'strerror', 'not UTF-8 text')}")

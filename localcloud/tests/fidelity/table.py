"""Puts differences.py as a table into a Markdown file, or checks that it is there: table.py --write|--check FILE"""

import argparse
import sys
from pathlib import Path

from differences import DIFFERENCES

BEGIN = "<!-- differences: scripts/fidelity table -->\n"
NAMES = {"signatures": "all", "cli": "CLI", "account": "IAM, CloudWatch", "lambda": "Lambda"}
END = "<!-- end of differences -->\n"


def in_words(tests):
    """Returns what the tests state, each once, by the service: `EC2: an absent image`."""
    found = {}
    for test in tests:
        file, name = test.split("::")
        words = name.partition("[")[0].removeprefix("test_").replace("_", " ")
        service = file.removesuffix(".py").split("_")[1]
        service = NAMES.get(service, service.upper())
        found.setdefault(service, {})[words] = None
    return "; ".join(f"{service}: {', '.join(words)}" for service, words in found.items())


def table():
    reasons = {}
    for target, differences in DIFFERENCES.items():
        for test, reason in differences.items():
            reasons.setdefault((target, reason), []).append(test)
    rows = {}
    for (target, reason), tests in reasons.items():
        rows.setdefault(in_words(tests), {})[target] = reason
    lines = ["| What AWS does (the tests' names) | localcloud | moto |", "|---|---|---|"]
    for words, cells_by_target in rows.items():
        cells = [words, *(cells_by_target.get(target, "as AWS") for target in ("localcloud", "moto"))]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", metavar="FILE", type=Path)
    what.add_argument("--check", metavar="FILE", type=Path)
    arguments = parser.parse_args()
    path = arguments.write or arguments.check
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{path} has no lines {BEGIN.strip()} and {END.strip()}")
    # Markdown takes a table only after an empty line, and HTML's comments likewise.
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if arguments.write and wanted != text:
        path.write_text(wanted)
    elif arguments.check and wanted != text:
        sys.exit(f"{path}: the table differs from differences.py: run scripts/fidelity table")


if __name__ == "__main__":
    main()

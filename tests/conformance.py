#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks docs/conformance.md: every test it names exists and runs, every case has one or says why
not, and numbers are in order."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "conformance.md"
NAME = re.compile(r"`(unit|integration)/(\w+)::(\w+)`")


def exists(kind, module, name):
    if kind == "integration":
        path = ROOT / "tests" / "integration" / f"test_{module}.py"
        return path.exists() and re.search(rf"^def test_{name}\(", path.read_text(), re.M)
    path = ROOT / "tests" / "unit" / f"test_{module}.c"
    if not path.exists():
        return False
    text = path.read_text()
    defined = re.search(rf"^static void {name}\(void \*\*", text, re.M)
    return defined and len(re.findall(rf"\b{name}\b", text)) > 1  # and is in the list


def problems():
    number = 0
    for line in TABLE.read_text().splitlines():
        if not re.match(r"\| \d+ \|", line):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5:
            yield f"not five cells: {line}"
            continue
        number += 1
        if cells[0] != str(number):
            yield f"{cells[0]} where {number} is due"
        names = NAME.findall(cells[3])
        for name in names:
            if not exists(*name):
                yield "case {}: no test {}/{}::{}".format(cells[0], *name)
        if cells[4] == "yes" and not names:
            yield f"case {cells[0]} passes without a test"
        if cells[4] != "yes" and len(cells[4].split()) < 2:
            yield f"case {cells[0]} does not say why it does not pass"
    if number == 0:
        yield f"no cases in {TABLE}"


def main():
    found = list(problems())
    for problem in found:
        print(f"conformance: {problem}", file=sys.stderr)
    if not found:
        print("conformance: ok")
    return 1 if found else 0


sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The table of docs/servers.md: what works where, and why not where it does not.

It is made from tests/integration/harness/abilities.py.  Without arguments: is the page's the
same, and does each promise have a test that runs on that server?  --write: makes it so.
--proven FILE: did such a test pass, as the last run of all tests says?
"""

import ast
import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "servers.md"
TESTS = ROOT / "tests" / "integration"
BEGIN, END = "<!-- abilities: made by tests/servers.py -->\n", "<!-- end of abilities -->\n"


def load(name):
    spec = importlib.util.spec_from_file_location(name, TESTS / "harness" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


A = load("abilities")


def marks(node_list):
    """[(name, arguments)] of pytest.mark.name(arguments) among expressions."""
    for node in node_list:
        for part in node.elts if isinstance(node, ast.List) else [node]:
            if (isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute)
                    and ast.unparse(part.func.value) == "pytest.mark"):
                yield part.func.attr, [a.value for a in part.args if isinstance(a, ast.Constant)]
                yield from marks(part.args)
            elif isinstance(part, ast.Call):  # pytest.param(…, marks=…)
                yield from marks([k.value for k in part.keywords] + part.args)


def tests():
    """(its kinds, what it needs) of each, as conftest.py reads them."""
    for path in sorted(TESTS.glob("test_*.py")):
        module = ast.parse(path.read_text())
        names = {target.id: node.value for node in module.body if isinstance(node, ast.Assign)
                 for target in node.targets if isinstance(target, ast.Name)}
        whole = list(marks([names["pytestmark"]])) if "pytestmark" in names else []
        own = ast.literal_eval(names["KIND"]) if "KIND" in names else "ejabberd"
        for node in module.body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            found = list(marks(node.decorator_list)) + whole
            kinds = next((args for name, args in found if name == "servers"), None)
            kinds = [own] if kinds is None else kinds or list(A.LACKS)
            needs = {arg for name, args in found if name == "needs" for arg in args}
            yield kinds, needs


def table():
    """The lines of the page."""
    yield "| | " + " | ".join(A.TITLES.values()) + " | in tests |\n"
    yield "|---" * (len(A.TITLES) + 2) + "|\n"
    for ability, what in A.ABILITIES.items():
        cells = [A.LACKS[kind].get(ability, "yes") for kind in A.TITLES]
        yield f"| {what} | {' | '.join(cells)} | `{ability}` |\n"


def unproven(found):
    for ability in A.ABILITIES:
        for kind in A.TITLES:
            if ability not in A.LACKS[kind] and not any(
                    ability in needs and kind in kinds
                    and not any(A.reason(kind, need) for need in needs)
                    for kinds, needs in found):
                yield f"{ability} on {kind}: no test runs there that needs it"
    for kind, lacks in A.LACKS.items():
        yield from (f"{kind} lacks {name}, which is nothing" for name in lacks
                    if name not in A.ABILITIES)


def not_passed(path):
    proven = {tuple(pair) for pair in json.loads(Path(path).read_text())}
    for ability in A.ABILITIES:
        for kind in A.TITLES:
            if ability not in A.LACKS[kind] and (kind, ability) not in proven:
                yield f"{ability} on {kind}: no test of it has passed"


def main():
    found = list(tests())
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = before + BEGIN + "\n" + "".join(table()) + "\n" + END + after
    if "--write" in sys.argv[1:]:
        PAGE.write_text(wanted)
    problems = list(unproven(found))
    if "--proven" in sys.argv[1:]:
        problems += not_passed(sys.argv[-1])
    if PAGE.read_text() != wanted:
        problems.append(f"{PAGE.relative_to(ROOT)} is not what harness/abilities.py says:"
                        " tests/servers.py --write")
    for problem in problems:
        print(f"servers: {problem}", file=sys.stderr)
    if not problems:
        print("servers: ok")
    return 1 if problems else 0


sys.exit(main())

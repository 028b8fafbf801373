"""Reads the contracts with other people's eyes: ``python -m contracts.analysis`` (``./dev contracts --analyse``).

    solhint   style and known bad habits                    no finding
    slither   static analysis                               every high or medium finding has a written answer
    halmos    symbolic execution of ``check_`` functions     proven for all inputs within the stated widths
    coverage  lines and branches of ``src`` by the tests    what is not covered is listed in ``coverage.toml``, with why

slither and halmos live in an environment of their own below ``solidity/.analysis``, made from ``analysis.txt`` on
the first call, because they want other versions of our libraries. Exit codes as for ``contracts.artifacts``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.artifacts import (
    DIFFERS,
    NO_NODE,
    OK,
    SOLIDITY,
    WRONG_USE,
    LocalNodeMissingError,
    LocalToolError,
    forge,
    require_packages,
)

ENVIRONMENT = SOLIDITY / ".analysis"
REQUIREMENTS = SOLIDITY / "analysis.txt"
ANSWERS = SOLIDITY / "slither.toml"
UNCOVERED = SOLIDITY / "coverage.toml"
JUDGED = ("High", "Medium")
TIME_LIMIT_S = 1_800


def main(arguments: list[str]) -> int:
    """Runs the named checks, by default all. Returns the exit code."""
    checks: dict[str, Callable[[], list[str]]] = {
        "solhint": solhint,
        "slither": slither,
        "halmos": halmos,
        "coverage": coverage,
    }
    if not set(arguments) <= set(checks):
        print(f"usage: python -m contracts.analysis [{' '.join(checks)}]", file=sys.stderr)
        return WRONG_USE
    try:
        require_packages()
        faults = []
        for name in arguments or checks:
            found = checks[name]()
            print(f"{'not ok' if found else 'ok'}: {name}", flush=True)
            faults += [f"{name}: {text}" for text in found]
    except LocalNodeMissingError as error:
        print(error, file=sys.stderr)
        return NO_NODE
    except LocalToolError as error:
        faults = [str(error)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return DIFFERS if faults else OK


def solhint() -> list[str]:
    """Findings of the linter; its rules stand in ``.solhint.json``."""
    text = _run([str(SOLIDITY / "node_modules" / ".bin" / "solhint"), "--formatter", "unix", "src/**/*.sol"])
    return [line for line in text.splitlines() if re.search(r":\d+:\d+:", line)]


def slither() -> list[str]:
    """High and medium findings without an answer, and answers without a finding."""
    answer = SOLIDITY / "cache" / "slither.json"
    answer.parent.mkdir(exist_ok=True)
    answer.unlink(missing_ok=True)
    _run([_tool("slither"), ".", "--filter-paths", "node_modules|test", "--json", str(answer)])
    if not answer.exists():
        raise LocalToolError("slither left no report")
    report: dict[str, Any] = json.loads(answer.read_text())
    if not report["success"]:
        raise LocalToolError(f"slither failed: {report['error']}")
    found = {_place(f) for f in report["results"].get("detectors", []) if f["impact"] in JUDGED}
    answered = {(a["check"], at) for a in _answers(ANSWERS, "finding") for at in a["at"]}
    open_ones = [f"{check} at {at} has no answer in {ANSWERS.name}" for check, at in sorted(found - answered)]
    return open_ones + [f"the answer to {check} at {at} answers nothing" for check, at in sorted(answered - found)]


def _place(finding: dict[str, Any]) -> tuple[str, str]:
    """The detector, and contract and function of the first element: what survives edits of unrelated lines."""
    element: dict[str, Any] = finding["elements"][0] if finding["elements"] else {"name": "?", "type": "?"}
    names = [element["name"]]
    while (parent := element.get("type_specific_fields", {}).get("parent")) is not None:
        element = parent
        if element["type"] in ("contract", "function"):
            names.insert(0, element["name"])
    return finding["check"], ".".join(names)


def halmos() -> list[str]:
    """Symbolic checks that do not hold or were not decided."""
    limit_ms = "60000"
    command = [_tool("halmos"), "--forge-build-out", "cache/symbolic", "--solver-timeout-assertion", limit_ms]
    text = _run(command, profile="symbolic")
    passed = re.findall(r"\[PASS\]\S* (\w+)", text)
    failed = re.findall(r"\[(?:FAIL|TIMEOUT|ERROR)\]\S* (\w+)", text)
    if not passed and not failed:
        raise LocalToolError("halmos found nothing to check:\n" + text[-2_000:])
    return [f"{name} does not hold for all inputs" for name in failed]


def coverage() -> list[str]:
    """Files of ``src`` with lines or branches that no test reaches, beyond those explained."""
    # Without the optimiser nothing keeps to its gas, and invariants reach nothing that examples do not.
    without = ["--no-match-contract", "Gas|Invariants", "--no-match-test", "within_the_gas"]
    report = ["--report", "lcov", "--report-file", "cache/lcov.info"]
    _run([str(forge()), "coverage", "--ir-minimum", *without, *report], must=True)
    missed = uncovered((SOLIDITY / "cache" / "lcov.info").read_text())
    explained = {a["file"]: a for a in _answers(UNCOVERED, "file")}
    faults = []
    for file, (lines, branches) in sorted(missed.items()):
        allowed = explained.get(file, {"lines": 0, "branches": 0})
        if lines > allowed["lines"] or branches > allowed["branches"]:
            faults.append(f"{file}: {lines} lines and {branches} branches are reached by no test")
    return faults


def uncovered(lcov: str) -> dict[str, tuple[int, int]]:
    """``{file: (lines, branches)}`` that were never reached, for the files of ``src`` in an lcov report."""
    missed: dict[str, tuple[int, int]] = {}
    file = ""
    for line in lcov.splitlines():
        kind, _, rest = line.partition(":")
        if kind == "SF":
            file = rest
            missed[file] = (0, 0)
        elif kind == "DA" and rest.split(",")[1] == "0":
            missed[file] = (missed[file][0] + 1, missed[file][1])
        elif kind == "BRDA" and rest.rsplit(",", 1)[1] in ("0", "-"):
            missed[file] = (missed[file][0], missed[file][1] + 1)
    return {name: counts for name, counts in missed.items() if name.startswith("src/") and counts != (0, 0)}


def _answers(path: Path, table: str) -> list[dict[str, Any]]:
    return list(tomllib.loads(path.read_text()).get(table, [])) if path.exists() else []


def _tool(name: str) -> str:
    """The path of a tool in the analysis environment, which is made where it is missing or outdated."""
    stamp = ENVIRONMENT / "installed.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        print("installing the analysis tools into contracts/solidity/.analysis")
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--requirement", str(REQUIREMENTS)], must=True)
        stamp.write_text(REQUIREMENTS.read_text())
    return str(ENVIRONMENT / "bin" / name)


def _run(command: list[str], must: bool = False, profile: str = "default") -> str:
    """Output of a command; with ``must``, its failure is ours. Analysers exit with 1 when they find something.

    ``profile`` is one of ``foundry.toml``.
    """
    path = os.pathsep.join((str(forge().parent), str(ENVIRONMENT / "bin"), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "FOUNDRY_PROFILE": profile}
    done = subprocess.run(
        command, cwd=SOLIDITY, env=environment, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S
    )
    if must and done.returncode:
        raise LocalToolError(f"`{' '.join(command)}` failed:\n{(done.stdout + done.stderr)[-8_000:]}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

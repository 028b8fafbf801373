"""The house rules as functions from a source file to findings; `tests/test_tidy.py` applies them.

Each rule takes a `Source` and returns ``line, message`` pairs. A rule that has exceptions names them by path, each
with its reason. `tests/test_tidy.py` also plants a violation of every rule, so that none can pass for nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("contracts", "device_profiles", "firmware_bridge", "edge_agent", "coordinator", "simulators")
NOT_OURS = {".git", ".venv", "node_modules", "__pycache__", "out", "cache", "dist", "build", "static", "demo-output"}
NOT_OURS |= {"bench-output", ".analysis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
CODE = {".py", ".sol", ".c", ".h", ".ts", ".js", ".mjs", ".svelte", ".css", ".sh"}
PROSE = {".md", ".toml"}
CODE_WITHOUT_SUFFIX = {"dev", ".ci/run"}

FILE_LINES = 400
FUNCTION_LINES = 70
CLAIM_WORDS = 4

Finding = tuple[int, str]


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax; empty for anything but Python."""
        return ast.parse(self.text if self.is_python else "", filename=self.path)

    @property
    def is_python(self) -> bool:
        """Whether it is Python; `dev` is, without saying so in its name."""
        return self.path.endswith(".py") or self.path == "dev"

    @property
    def is_code(self) -> bool:
        """Whether the limits of length hold for it."""
        return PurePosixPath(self.path).suffix in CODE or self.path in CODE_WITHOUT_SUFFIX

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and the name without suffix."""
        pure = PurePosixPath(self.path)
        return (*pure.parts[:-1], pure.stem)

    @property
    def room(self) -> str:
        """Its first folder, or nothing for a file in the root."""
        return self.parts[0] if len(self.parts) > 1 else ""


def sources() -> list[Source]:
    """Every file of the project that the rules speak about."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if NOT_OURS.intersection(name.split("/")) or not path.is_file():
            continue
        if path.suffix in CODE | PROSE or name in CODE_WITHOUT_SUFFIX:
            found.append(Source(name, path.read_text(encoding="utf-8")))
    return found


# --- length ---------------------------------------------------------------------------------------------------


def long_file(source: Source) -> Iterator[Finding]:
    """A file that one cannot keep in mind."""
    lines = source.text.count("\n")
    if source.is_code and lines > FILE_LINES:
        yield FILE_LINES + 1, f"{lines} lines, at most {FILE_LINES}"


def long_function(source: Source) -> Iterator[Finding]:
    """A function that does not fit a screen."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES}"


# --- import arrows --------------------------------------------------------------------------------------------

ARROWS: dict[str, set[str]] = {
    "contracts": set(),
    "device_profiles": set(),
    "firmware_bridge": {"device_profiles"},
    "edge_agent": {"contracts", "device_profiles", "firmware_bridge"},
    "coordinator": {"contracts"},
    "simulators": set(ROOMS),
}
DEPARTMENTS = ("market", "grid", "settlement", "pricing", "forecasting", "analytics", "oracles")
STRANGERS = ("market", "grid", "settlement")
"""They meet in coordinator.py and nowhere else."""


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, relative ones made absolute; also what is imported inside functions."""
    folder = source.path.rsplit("/", 1)[0].split("/") if "/" in source.path else []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        if isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def wrong_room(source: Source) -> Iterator[Finding]:
    """An import against the arrows between the rooms."""
    for line, module in imports(source):
        target = module.split(".")[0]
        ours = target in (*ROOMS, "tests") and target != source.room
        if ours and source.room in ARROWS and target not in ARROWS[source.room]:
            yield line, f"{source.room} must not import {module}"


def coordinator_part(parts: tuple[str, ...]) -> str:
    """Where in the coordinator a module lies: store, a department, shell, web, cli, or core for the rest."""
    inner = parts[1] if len(parts) > 1 else "core"
    return inner if inner in ("store", "shell", "web", "cli", *DEPARTMENTS) else "core"


def wrong_floor(source: Source) -> Iterator[Finding]:
    """An import against the arrows inside the coordinator."""
    if source.room != "coordinator":
        return
    here = coordinator_part(source.parts)
    for line, module in imports(source):
        names = tuple(module.split("."))
        if names[0] != "coordinator" or len(names) < 2:
            continue
        there = coordinator_part(names)
        upward = {
            "store": {*DEPARTMENTS, "shell", "web", "cli"},
            "core": {"shell", "web", "cli"},
            "shell": {"web", "cli"},
            "web": {"shell", "cli"},
            "cli": set(),
        }.get(here, {"shell", "web", "cli"})
        strangers = here in STRANGERS and there in STRANGERS and here != there
        into_the_switchboard = here in (*DEPARTMENTS, "store") and names[1] in ("coordinator", "ingest")
        if there in upward or strangers or into_the_switchboard:
            yield line, f"{here} must not import {module}"


# --- purity ---------------------------------------------------------------------------------------------------

WORLDLY = {
    "asyncio", "concurrent", "ctypes", "fcntl", "http", "logging", "multiprocessing", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "termios", "threading", "time",
    "urllib", "uuid",
    "aiomqtt", "amqtt", "anyio", "httpx", "paho", "psutil", "pymodbus", "requests", "serial", "uvicorn", "websockets",
}  # fmt: skip
WORLDLY_CALLS = {
    "os.environ", "os.getenv", "os.urandom", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip
SEEDED_IMPORT = "from random import Random"
SHELL_FOLDERS = {"shell", "web", "live", "commands"}
IMPURE_WITH_REASON = {
    "contracts/analysis.py": "runs other people's analysers over the sources; nothing at run time imports it",
    "contracts/artifacts.py": "builds the committed artifact by running the compiler; at run time it only reads it",
}


def is_core(source: Source) -> bool:
    """A module that must be a function of its arguments."""
    if source.room not in ROOMS or not source.is_python or source.path in IMPURE_WITH_REASON:
        return False
    is_command = source.parts[-1] in ("cli", "__main__")
    return not SHELL_FOLDERS.intersection(source.parts) and not is_command


def impure_core(source: Source) -> Iterator[Finding]:
    """Clock, socket, thread, randomness, environment or logging in a core.

    `from random import Random` is allowed in simulators: a generator that must be given its seed.
    """
    if not is_core(source):
        return
    seeded = set()
    for node in ast.walk(source.tree):
        if source.room == "simulators" and isinstance(node, ast.ImportFrom) and ast.unparse(node) == SEEDED_IMPORT:
            seeded.add(node.lineno)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Random" and not node.args:
            yield node.lineno, "a Random without its seed"
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in WORLDLY_CALLS:
                yield node.lineno, f"{name} in a core"
    for line, module in imports(source):
        if module.split(".")[0] in WORLDLY and line not in seeded:
            yield line, f"import of {module} in a core"
        if module in WORLDLY_CALLS:
            yield line, f"import of {module} in a core"


def sql_elsewhere(source: Source) -> Iterator[Finding]:
    """SQLite outside the two modules that own a database."""
    owner = source.path.startswith("coordinator/store/") or source.path == "edge_agent/delivery/store_file.py"
    if source.room not in ROOMS or owner:
        return
    for line, module in imports(source):
        if module.split(".")[0] in ("sqlite3", "sqlite_utils"):
            yield line, f"{module} belongs to coordinator/store and edge_agent/delivery/store_file.py"


# --- words ----------------------------------------------------------------------------------------------------

BANNED_WORDS = {
    "base", "bases", "common", "data", "engine", "engines", "handle", "handler", "handlers", "helper", "helpers",
    "info", "infos", "manager", "managers", "misc", "process", "processes", "processor", "service", "services",
    "util", "utils",
}  # fmt: skip


def words_of(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def banned_name(source: Source) -> Iterator[Finding]:
    """A module, folder or class whose name says nothing."""
    if not source.is_python:
        return
    for part in source.parts:
        for word in BANNED_WORDS.intersection(words_of(part)):
            yield 1, f"the name {part!r} has the empty word {word!r}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            for word in BANNED_WORDS.intersection(words_of(node.name)):
                yield node.lineno, f"class {node.name} has the empty word {word!r}"


# One letter of each stands in brackets, so that this file does not find itself.
UNFINISHED_WORDS = re.compile(r"\b(TO[D]O|FI[X]ME|X[X]X|HA[C]K)\b")
NOT_ABOUT_THE_PROJECT = re.compile(
    r"\bas an a[i]\b|\blanguage mod[e]l|(?<!home )\bassis[t]ant\b|\bchat[b]ot|\bco-auth[o]red-by"
    r"|/tmp/pl[a]n\b|/work/(main|shared)\b"
    r"|\b(issue|pull request|pr) #?\d+\b|\b(fixes|closes|see) #\d+\b",
    re.IGNORECASE,
)


def unfinished(source: Source) -> Iterator[Finding]:
    """A note to do something later, or a place where something is not there."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if UNFINISHED_WORDS.search(line):
            yield number, "unfinished work is written down elsewhere or done"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
            yield node.lineno, "a stub"


def off_topic(source: Source) -> Iterator[Finding]:
    """The project speaks about itself, not about how or where it was written."""
    for number, line in enumerate(source.text.splitlines(), 1):
        found = NOT_ABOUT_THE_PROJECT.search(line)
        if found:
            yield number, f"not about the project: {found.group()!r}"


def wildcard_import(source: Source) -> Iterator[Finding]:
    """Names from nowhere."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield node.lineno, f"wildcard import of {node.module}"


# --- numbers --------------------------------------------------------------------------------------------------

FLOATS_WITH_REASON = {
    "contracts/analysis.py": "joins paths with a slash; holds no money",
    "contracts/artifacts.py": "joins paths with a slash; holds no money",
    "coordinator/market/clearing.py:_mul_div": "its floating quotient is corrected exactly by the integer remainder",
}
"""A file, or one function of it."""


def inexact_money(source: Source) -> Iterator[Finding]:
    """A float, or a division that makes one, where money, settlement or a message is computed."""
    folder, _, name = source.path.rpartition("/")
    strict = folder == "contracts" or source.path.startswith(("coordinator/market/", "coordinator/settlement/"))
    if not strict or not name.endswith(".py") or source.path in FLOATS_WITH_REASON:
        return
    spared = {
        id(inner)
        for outer in ast.walk(source.tree)
        if isinstance(outer, ast.FunctionDef) and f"{source.path}:{outer.name}" in FLOATS_WITH_REASON
        for inner in ast.walk(outer)
    }
    for node in ast.walk(source.tree):
        if id(node) in spared:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield node.lineno, f"the float {node.value}"
        if isinstance(node, ast.Name) and node.id == "float":
            yield node.lineno, "the type float"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield node.lineno, "a division that makes a float"


# --- tests ----------------------------------------------------------------------------------------------------


def test_without_claim(source: Source) -> Iterator[Finding]:
    """A test whose name does not say what holds."""
    if source.room != "tests" or not source.parts[-1].startswith("test_"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if len(words_of(node.name)) - 1 < CLAIM_WORDS:
            yield node.lineno, f"{node.name} is no claim: at least {CLAIM_WORDS} words after test"


RULES = (
    long_file,
    long_function,
    wrong_room,
    wrong_floor,
    impure_core,
    sql_elsewhere,
    banned_name,
    unfinished,
    off_topic,
    wildcard_import,
    inexact_money,
    test_without_claim,
)

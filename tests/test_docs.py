"""The documentation names everything a user can call, send, configure or watch, and its links lead somewhere.

Every command, route, message, profile, metric and scenario is taken from the program itself, and looked for in the
README files; so that nothing can be added without a word about it.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.house_rules import ROOT, sources

SCRIPTS = {"edge-agent": "edge_agent.cli", "coordinator": "coordinator.cli", "simulate": "simulators.cli"}
METHODS = {"get", "put", "post", "delete", "patch"}
METRIC = re.compile(r"\b(?:energy_grid|edge_agent|coordinator|grid)_[a-z0-9_]*[a-z0-9]\b")
EXPOSITION_MARKS = ("# TYPE ", "# HELP ")
FIGURE_HEADINGS = {"figure", "measured"}
BENCH_COMMAND = re.compile(r"\./dev bench ([a-z0-9_]+)")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


@cache
def documents() -> dict[str, str]:
    """Every Markdown file by its path."""
    return {source.path: source.text for source in sources() if source.path.endswith(".md")}


@cache
def readmes() -> str:
    """All README files behind each other."""
    return "\n".join(text for path, text in documents().items() if path.rsplit("/", 1)[-1] == "README.md")


def says(words: str, text: str) -> bool:
    """Whether ``words`` stand in ``text`` as a whole, not as a part of a longer name."""
    return re.search(rf"(?<![\w/-]){re.escape(words)}(?![\w/-])", text) is not None


def commands(script: str, node: Any) -> Iterator[str]:
    """Every command of a group as a user types it; hidden ones are not for users."""
    inner = getattr(node, "commands", None)
    if inner is None:
        yield script
        return
    for name, child in inner.items():
        if not getattr(child, "hidden", False):
            yield from commands(f"{script} {name}", child)


def table_rows(text: str) -> Iterator[tuple[list[str], str]]:
    """Headings and text of every row of every Markdown table."""
    headings: list[str] | None = None
    previous = ""
    for line in text.splitlines():
        if re.fullmatch(r"\s*\|?[\s:|-]*-[\s:|-]*\|[\s:|-]*", line) and "|" in previous:
            headings = [cell.strip().lower() for cell in previous.strip().strip("|").split("|")]
        elif headings is not None and "|" in line:
            yield headings, line
        else:
            headings = None
        previous = line


def figure_rows(text: str) -> list[str]:
    """Rows of tables of measured figures."""
    return [row for headings, row in table_rows(text) if FIGURE_HEADINGS.intersection(headings)]


def without_code(text: str) -> str:
    """The text without fenced blocks and code spans, where brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def metrics_of(text: str) -> set[str]:
    """Metric names in the string literals of a module that writes the Prometheus exposition format."""
    if not any(mark in text for mark in EXPOSITION_MARKS):
        return set()
    literals = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    names = {name for value in literals if isinstance(value, str) for name in METRIC.findall(value)}
    return {name for name in names if not re.search(rf"(?:import|from) [\w.]*{name}", text)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_of_the_command_line_is_in_a_readme(script: str) -> None:
    from typer.main import get_command

    found = list(commands(script, get_command(importlib.import_module(SCRIPTS[script]).app)))
    assert found
    assert [command for command in found if not says(command, readmes())] == []


def test_every_route_is_in_a_readme_with_its_method() -> None:
    paths = importlib.import_module("coordinator.web.app").openapi_document()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in METHODS.intersection(methods)]
    assert routes
    lines = readmes().splitlines()
    missing = [
        f"{method} {path}"
        for method, path in routes
        if not any(says(method, line) and says(path, line.replace("`", " ")) for line in lines)
    ]
    assert missing == []


def test_every_message_of_the_contract_is_in_a_readme() -> None:
    from contracts.messages import MESSAGES

    assert MESSAGES
    assert [message.__name__ for message in MESSAGES if not says(message.__name__, readmes())] == []


def test_every_device_profile_is_in_a_readme() -> None:
    from device_profiles.profile import list_profiles

    assert list_profiles()
    assert [name for name in list_profiles() if not says(name, readmes())] == []


def test_every_metric_of_prometheus_is_in_a_readme() -> None:
    rooms = ("coordinator/", "edge_agent/")
    code = [source.text for source in sources() if source.path.startswith(rooms) and source.is_python]
    found = set().union(*(metrics_of(text) for text in code))
    assert found, "no module writes '# TYPE': metrics are not where this test looks for them"
    assert sorted(name for name in found if not says(name, readmes())) == []


def test_every_scenario_file_is_in_a_readme() -> None:
    scenarios = sorted(path.stem for path in (ROOT / "simulators" / "scenarios").glob("*.toml"))
    assert scenarios
    assert [name for name in scenarios if not says(name, readmes())] == []


def test_every_measured_figure_names_the_command_that_measures_it() -> None:
    areas = {path.stem for path in (ROOT / "tests" / "bench").glob("*.py")}
    wrong = []
    for path, text in documents().items():
        for row in figure_rows(text):
            named = BENCH_COMMAND.findall(row)
            if not named or not areas.issuperset(named):
                wrong.append(f"{path}: {row}")
    assert wrong == []


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for path, text in documents().items():
        for target in LINK.findall(without_code(text)):
            place = target.split("#")[0]
            if re.match(r"[a-z]+:", target) or not place:
                continue
            if not (ROOT / path).parent.joinpath(place).exists():
                broken.append(f"{path}: {target}")
    assert broken == []


def test_every_room_and_its_readme_are_linked_or_named_in_the_main_readme() -> None:
    rooms = ("contracts", "device_profiles", "firmware_bridge", "edge_agent", "coordinator", "simulators")
    assert [room for room in rooms if not (ROOT / room / "README.md").is_file()] == []
    assert [room for room in rooms if not says(f"{room}/", documents()["README.md"].replace("README.md", " "))] == []


def test_a_name_inside_a_longer_name_does_not_count_as_said() -> None:
    assert says("coordinator run", "Start it with `coordinator run`.")
    assert not says("coordinator run", "coordinator run-once")
    assert not says("/api/bids", "GET /api/bids/{account}")
    assert not says("eastron_sdm120", "eastron_sdm120_mid")


def test_commands_of_nested_groups_are_found_as_they_are_typed() -> None:
    import typer

    app, inner = typer.Typer(), typer.Typer()
    app.add_typer(inner, name="config")
    app.command("run")(lambda: None)
    inner.command("check")(lambda: None)
    inner.command("secret", hidden=True)(lambda: None)
    assert set(commands("agent", typer.main.get_command(app))) == {"agent run", "agent config check"}


def test_figure_tables_and_links_are_found_where_they_are() -> None:
    text = "| Figure | value |\n|---|---|\n| speed | 5 |\n| size | 6 |\n\n| other | x |\n|---|---|\n| no | 1 |\n"
    assert figure_rows(text) == ["| speed | 5 |", "| size | 6 |"]
    assert LINK.findall(without_code("[a](b.md) ![c](d.png) `[e](f)`\n```\n[g](h)\n```\n")) == ["b.md", "d.png"]


def test_metric_names_are_found_in_an_exposition() -> None:
    text = 'import coordinator_x\nA = "# TYPE coordinator_bids_total counter"\nB = f"edge_agent_up {A}"\n'
    assert metrics_of(text) == {"coordinator_bids_total", "edge_agent_up"}
    assert metrics_of('A = "coordinator_bids_total"') == set()

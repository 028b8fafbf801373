"""The house rules hold everywhere, and each of them finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import house_rules as rules
from tests.house_rules import FLOATS_WITH_REASON, IMPURE_WITH_REASON, ROOT, RULES, Finding, Source, sources

Rule = Callable[[Source], Iterator[Finding]]
SOURCES = sources()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_of_the_project_breaks_the_rule(rule: Rule) -> None:
    found = [f"{source.path}:{line}: {text}" for source in SOURCES for line, text in rule(source)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


def test_the_rules_see_every_room_and_nothing_that_is_not_ours() -> None:
    seen = {source.room for source in SOURCES}
    assert {*rules.ROOMS, "tests"} <= seen
    assert {"dev", ".ci/run", "README.md"} <= {source.path for source in SOURCES}
    assert not [source.path for source in SOURCES if ".venv" in source.path or "node_modules" in source.path]


def test_every_exception_names_a_file_that_is_there_and_a_reason() -> None:
    for place, reason in (IMPURE_WITH_REASON | FLOATS_WITH_REASON).items():
        path, _, function = place.partition(":")
        assert (ROOT / path).is_file(), path
        assert f"def {function}" in (ROOT / path).read_text(encoding="utf-8"), place
        assert len(reason.split()) >= 4, place


def test_every_rule_has_a_planted_violation_and_a_spared_neighbour() -> None:
    assert {rule.__name__ for rule, *_ in PLANTED} == {rule.__name__ for rule in RULES}
    assert {rule.__name__ for rule, *_ in SPARED} == {rule.__name__ for rule in RULES}


PLANTED = [
    (rules.long_file, "edge_agent/agent.py", "x = 1\n" * 401, 401),
    (rules.long_file, "contracts/solidity/src/Settlement.sol", "\n" * 401, 401),
    (rules.long_function, "dev", "def f():\n" + "    x = 1\n" * 70, 1),
    (rules.long_function, "simulators/world.py", "class A:\n  async def f(self):\n" + "    x = 1\n" * 70, 2),
    (rules.wrong_room, "contracts/batch.py", "import coordinator.store", 1),
    (rules.wrong_room, "coordinator/ingest.py", "def f():\n    from device_profiles import codec", 2),
    (rules.wrong_room, "edge_agent/agent.py", "from simulators.home import Home", 1),
    (rules.wrong_room, "edge_agent/agent.py", "import tests.conftest", 1),
    (rules.wrong_room, "firmware_bridge/sml.py", "from contracts.units import amount_nano", 1),
    (rules.wrong_floor, "coordinator/market/auction.py", "from coordinator.settlement import ledger", 1),
    (rules.wrong_floor, "coordinator/market/auction.py", "from coordinator import grid", 1),
    (rules.wrong_floor, "coordinator/market/auction.py", "from ..grid import image", 1),
    (rules.wrong_floor, "coordinator/market/auction.py", "from coordinator.coordinator import Coordinator", 1),
    (rules.wrong_floor, "coordinator/store/inbox.py", "from coordinator.pricing import tariff", 1),
    (rules.wrong_floor, "coordinator/coordinator.py", "import coordinator.shell.runtime", 1),
    (rules.wrong_floor, "coordinator/shell/runtime.py", "import coordinator.web.app", 1),
    (rules.wrong_floor, "coordinator/web/app.py", "from coordinator.cli import main", 1),
    (rules.impure_core, "edge_agent/agent.py", "import socket", 1),
    (rules.impure_core, "edge_agent/agent.py", "def f():\n    from time import monotonic", 2),
    (rules.impure_core, "coordinator/ingest.py", "import os\nx = os.environ['A']", 2),
    (rules.impure_core, "coordinator/ingest.py", "from os import environ", 1),
    (rules.impure_core, "coordinator/market/auction.py", "from random import Random", 1),
    (rules.impure_core, "simulators/home.py", "from random import random", 1),
    (rules.impure_core, "simulators/home.py", "from random import Random\nx = Random()", 2),
    (rules.impure_core, "contracts/envelope.py", "import datetime\nx = datetime.datetime.now()", 2),
    (rules.impure_core, "firmware_bridge/sml.py", "import concurrent.futures", 1),
    (rules.sql_elsewhere, "coordinator/market/book.py", "import sqlite3", 1),
    (rules.sql_elsewhere, "edge_agent/shell/runtime.py", "from sqlite_utils import Database", 1),
    (rules.banned_name, "coordinator/market/order_utils.py", "", 1),
    (rules.banned_name, "edge_agent/common/x.py", "", 1),
    (rules.banned_name, "edge_agent/agent.py", "\nclass MeterDataManager: ...", 2),
    (rules.banned_name, "edge_agent/agent.py", "class HTTPHandler: ...", 1),
    (rules.unfinished, "README.md", "later\n" + "TO" + "DO: more", 2),
    (rules.unfinished, "contracts/solidity/src/Settlement.sol", "// FIX" + "ME", 1),
    (rules.unfinished, "edge_agent/agent.py", "def f():\n    raise NotImplementedError('x')", 2),
    (rules.off_topic, "README.md", "written by an assis" + "tant", 1),
    (rules.off_topic, "edge_agent/agent.py", "x = 1\n# fixes #" + "12", 2),
    (rules.off_topic, "tests/conftest.py", "PATH = '/tmp/pl" + "an/x'", 1),
    (rules.wildcard_import, "edge_agent/agent.py", "from contracts.units import *", 1),
    (rules.inexact_money, "contracts/units.py", "x = 1.5", 1),
    (rules.inexact_money, "coordinator/settlement/ledger.py", "def f(x: float) -> int: ...", 1),
    (rules.inexact_money, "coordinator/market/auction.py", "x = 1\nx /= 2", 2),
    (rules.inexact_money, "contracts/batch.py", "y = 4 / 2", 1),
    (rules.inexact_money, "coordinator/market/clearing.py", "def _mul_div(a, b): ...\nx = 1 / 2", 2),
    (rules.test_without_claim, "tests/market/test_auction.py", "def test_auction_works(): ...", 1),
    (rules.test_without_claim, "tests/market/test_auction.py", "class TestA:\n    async def test_it(self): ...", 2),
]

SPARED = [
    (rules.long_file, "edge_agent/agent.py", "x = 1\n" * 400),
    (rules.long_file, "README.md", "\n" * 900),
    (rules.long_function, "dev", "def f():\n" + "    x = 1\n" * 69),
    (rules.wrong_room, "simulators/world.py", "import coordinator.coordinator, edge_agent.agent, contracts"),
    (rules.wrong_room, "tests/x.py", "import simulators"),
    (rules.wrong_floor, "coordinator/market/auction.py", "from coordinator.store import inbox\nfrom . import book"),
    (rules.wrong_floor, "coordinator/cli.py", "import coordinator.shell.runtime, coordinator.web.app"),
    (rules.wrong_floor, "coordinator/coordinator.py", "import coordinator.market, coordinator.grid"),
    (rules.impure_core, "edge_agent/shell/clock.py", "import time, asyncio"),
    (rules.impure_core, "simulators/live/modbus.py", "import socket"),
    (rules.impure_core, "coordinator/cli.py", "import logging"),
    (rules.impure_core, "simulators/home.py", "from random import Random\nx = Random(f'{1}')"),
    (rules.impure_core, "edge_agent/agent.py", "from datetime import datetime\nx = datetime(2025, 1, 1)"),
    (rules.impure_core, "contracts/artifacts.py", "import subprocess"),
    (rules.sql_elsewhere, "coordinator/store/inbox.py", "import sqlite3"),
    (rules.sql_elsewhere, "edge_agent/delivery/store_file.py", "import sqlite3"),
    (rules.banned_name, "coordinator/store/database.py", "class Baseline: ...\nclass Information: ..."),
    (rules.unfinished, "edge_agent/agent.py", "method = 'todos'"),
    (rules.off_topic, "README.md", "A charging session ends; see section 12 and colour #123456."),
    (rules.off_topic, "edge_agent/home_assistant.py", "x = 'Home Assistant'"),
    (rules.impure_core, "edge_agent/commands/key.py", "import time"),
    (rules.wildcard_import, "edge_agent/agent.py", "from contracts.units import amount_nano"),
    (rules.inexact_money, "contracts/units.py", "x = 5 // 2\ny = 1_000\n'a / 1.5 float'"),
    (rules.inexact_money, "coordinator/forecasting/linear.py", "x = 1.5 / 2"),
    (rules.inexact_money, "coordinator/market/clearing.py", "def _mul_div(a, b):\n    return a / b"),
    (rules.test_without_claim, "tests/market/test_auction.py", "def test_two_bids_share_equally(): ..."),
]


@pytest.mark.parametrize(("rule", "path", "text", "line"), PLANTED)
def test_the_rule_finds_a_planted_violation(rule: Rule, path: str, text: str, line: int) -> None:
    assert line in [found for found, _ in rule(Source(path, text))]


@pytest.mark.parametrize(("rule", "path", "text"), SPARED)
def test_the_rule_spares_what_is_right(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []

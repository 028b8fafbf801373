"""The configuration file: complete or refused, with everything that is wrong at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.codes import AuctionRule
from contracts.header_rules import Terms
from contracts.interval import STREET_CALENDAR
from edge_agent.config import AgentConfig, ConfigError, agent_config_from_toml

GOOD = """
[home]
account = 7
feeder = "f1"
edge = "ada"
[chain]
chain_id = 31337
settlement = "0x0000000000000000000000000000000000000009"
operator = "0x0000000000000000000000000000000000000008"
[key]
file = "key"
[store]
path = "outbox.db"
[[meter]]
number = 0
name = "main"
profile = "eastron_sdm630"
host = "127.0.0.1"
"""


def read(tmp_path: Path, text: str) -> AgentConfig:
    """The configuration of that text."""
    (tmp_path / "agent.toml").write_text(text)
    return agent_config_from_toml(tmp_path / "agent.toml")


def test_a_short_file_is_enough_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.store == tmp_path / "outbox.db" and config.lease_file == tmp_path / "key.lease"
    assert config.home.account == 7 and config.meters[0].port == 502 and config.bidding.auto_trade
    assert config.chain.operator[-1] == 8 and config.chain.domain.chain_id == 31337


def test_the_terms_follow_from_grace_calendar_and_spot_rule(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).terms == Terms()
    text = GOOD.replace("[key]", 'grace = 6\nspot_rule = "auction"\n[key]') + '[bidding]\ncalendar = "street"\n'
    assert read(tmp_path, text).terms == Terms(6, STREET_CALENDAR.gate_leads, AuctionRule.SPOT_AUCTION)
    with pytest.raises(ConfigError, match="spot_rule"):
        read(tmp_path, text.replace('"auction"', '"forward"'))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("account = 7", "account = 0").replace('"f1"', '"F 1"').replace('"0x0000', '"0000', 1)
    text += 'unit = 300\nrole = "kettle"\n[limits]\nmax_import_w = -1\nspeed = 3\n'
    text += "[bidding]\nmax_buy_price = 12345\n[nonsense]\n"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = "\n".join(caught.value.errors)
    for word in ("account", "feeder", "settlement", "unit", "kettle", "max_import_w", "'speed'", "12345", "[nonsense]"):
        assert word in said, word
    assert len(caught.value.errors) == 9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "= 3",
        "home = 3",
        GOOD + 'password = "x"',
        GOOD + '[broker]\npassword = "secret"',
        GOOD.replace('file = "key"', 'file = "key"\nsecret = "00"'),
        GOOD + GOOD[GOOD.index("[[meter]]") :],
        GOOD.replace("account = 7", "account = true"),
        GOOD + "[telemetry]\nbatch_s = 1.5",
        GOOD + "[clock]\nspeed = 0",
        GOOD + "[bidding]\ntariff_import = 1\ntariff_export = 2",
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path, text)


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        agent_config_from_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError):
        read(tmp_path, GOOD + "#" * 100_000)


def agent(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", *arguments],
        cwd=folder, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
def test_the_commands_say_what_they_find_and_end_with_the_agreed_codes(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(GOOD + "port = 9\n[broker]\nport = 9\n")
    made = agent("key", "new", "key", folder=tmp_path)
    assert made.returncode == 0 and made.stdout.startswith("0x") and len(made.stdout.strip()) == 42
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert agent("key", "address", "key", folder=tmp_path).stdout == made.stdout
    assert agent("key", "new", "key", folder=tmp_path).returncode == 1
    assert agent("config", "check", "-c", "agent.toml", folder=tmp_path).returncode == 0
    (tmp_path / "bad.toml").write_text(GOOD + "colour = 3")
    bad = agent("config", "check", "-c", "bad.toml", folder=tmp_path)
    assert bad.returncode == 78 and "colour" in bad.stderr
    assert agent("probe", "-c", "agent.toml", folder=tmp_path).returncode == 69
    assert agent("queue", "stat", "-c", "agent.toml", folder=tmp_path).returncode == 69
    assert "eastron_sdm630" in agent("profile", "list", folder=tmp_path).stdout
    assert agent("profile", "check", "eastron_sdm630", "sunspec_battery", folder=tmp_path).returncode == 0
    assert agent("profile", "check", "nonsense", folder=tmp_path).returncode == 1
    assert "ms of bus time" in agent("profile", "plan", "eastron_sdm630", folder=tmp_path).stdout
    doctor = agent("doctor", "-c", "agent.toml", folder=tmp_path)
    assert doctor.returncode == 1 and "fail broker" in doctor.stdout and "ok   key" in doctor.stdout
    (tmp_path / "key").chmod(0o644)
    loose = agent("run", "-c", "agent.toml", folder=tmp_path)
    assert loose.returncode == 78 and "chmod 600" in loose.stderr
    assert agent("nonsense", folder=tmp_path).returncode == 2


def test_the_run_path_imports_nothing_heavy() -> None:
    script = (
        "import sys, edge_agent.shell.foreground, edge_agent.shell.runtime\n"
        "heavy = {'web3', 'eth_account', 'pydantic', 'rich', 'numpy', 'typer', 'sqlite_utils', 'simulators'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    through_cli = script.replace("edge_agent.shell.runtime", "edge_agent.cli").replace("'typer', ", "")
    done = subprocess.run([sys.executable, "-c", through_cli], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr

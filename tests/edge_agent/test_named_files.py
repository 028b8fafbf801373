"""A file that the configuration names and nobody can use is told before the agent starts, not by its start."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner, Result

from edge_agent.cli import app
from edge_agent.config import agent_config_from_toml
from edge_agent.shell import examination
from edge_agent.shell.diagnosis import Level, examine
from edge_agent.shell.key_store import write_key
from edge_agent.shell.named_files import troubles
from firmware_bridge.node_signature import compressed, public_key_of
from simulators.agent_toml import agent_toml
from tests.edge_agent.conftest import ADA_KEY, CY_KEY

Runner = Callable[[Awaitable[None]], None]
NODE: dict[str, str | int] = {
    "number": 0,
    "name": "main",
    "link": "telegram",
    "telegram": "node",
    "device": "/dev/nowhere",
    "public_key": compressed(public_key_of(CY_KEY)).hex(),
    "key_file": "link.key",
}


def installed(folder: Path, more: str = "", node: bool = True) -> Path:
    """Ada's configuration with both keys in place; ``more`` is added to its file."""
    write_key(folder / "home.key", ADA_KEY)
    write_key(folder / "link.key", CY_KEY)
    other: dict[str, str | int] = {
        "number": 0,
        "name": "main",
        "link": "telegram",
        "telegram": "p1",
        "device": "/dev/nowhere",
    }
    path = folder / "agent.toml"
    path.write_text(agent_toml("ada", [NODE if node else other], "a test") + more, encoding="utf-8")
    return path


def check(path: Path) -> Result:
    """`edge-agent config check`."""
    return CliRunner().invoke(app, ["config", "check", "-c", str(path)])


def next_key(at: datetime) -> str:
    """The file that replaces the one of `agent_toml` with a rotation."""
    return f'next_file = "next.key"\nnext_at = {at:%Y-%m-%dT%H:%M:%SZ}\n'


def test_what_is_in_order_is_no_trouble(tmp_path: Path) -> None:
    path = installed(tmp_path)
    assert list(troubles(agent_config_from_toml(path))) == []
    assert check(path).exit_code == 0


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda key: key.unlink(), "cannot be read"),
        (lambda key: key.write_text("nonsense\n"), "does not hold a key"),
        (lambda key: key.chmod(0o644), "chmod 600"),
        (lambda key: key.write_bytes(b"\xff\xfe" * 40), "cannot be read"),
    ],
    ids=["missing", "nonsense", "readable by others", "no text"],
)
@pytest.mark.parametrize(("name", "what"), [("link.key", "node main"), ("home.key", "key")])
def test_a_bad_key_is_told_by_config_check_and_by_the_doctor(
    run: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    what: str,
    spoil: Callable[[Path], object],
    why: str,
) -> None:
    monkeypatch.setattr(examination, "TELEGRAM_S", 0.1)
    path = installed(tmp_path, "\n[broker]\nport = 9\n")
    spoil(tmp_path / name)
    told = check(path)
    assert told.exit_code == 78 and f"{what}: " in told.stderr and why in told.stderr
    assert CliRunner().invoke(app, ["run", "-c", str(path)]).exit_code == 78  # the agent itself would say the same

    async def story() -> None:
        findings = [finding for finding in await examine(agent_config_from_toml(path)) if finding.what == what]
        assert [finding.level for finding in findings] == [Level.FAIL]
        assert why in findings[0].text and findings[0].cure

    run(story())


def test_probe_says_that_a_node_s_key_is_of_no_use(tmp_path: Path) -> None:
    path = installed(tmp_path)
    (tmp_path / "link.key").unlink()
    told = CliRunner().invoke(app, ["probe", "-c", str(path)])
    assert told.exit_code == 78 and "link.key" in told.stderr


def test_a_missing_next_key_fails_the_check_and_not_the_start(tmp_path: Path) -> None:
    path = installed(tmp_path, node=False)
    at = datetime.now(UTC) + timedelta(days=3)
    path.write_text(path.read_text().replace('file = "home.key"\n', 'file = "home.key"\n' + next_key(at)))
    told = check(path)
    assert told.exit_code == 78 and "next key: " in told.stderr and "next.key" in told.stderr
    assert [(t.what, t.stops, t.ends) for t in troubles(agent_config_from_toml(path))] == [("next key", False, True)]
    write_key(tmp_path / "next.key", CY_KEY)
    assert check(path).exit_code == 0


def test_a_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    path = installed(tmp_path, node=False)
    (tmp_path / "plain").write_text("a file, not a folder")
    path.write_text(path.read_text().replace('path = "agent.db"', 'path = "plain/deep/agent.db"'))
    told = check(path)
    assert told.exit_code == 78 and "store: " in told.stderr and "no folder" in told.stderr
    path.write_text(path.read_text().replace("plain/deep", "made/at/the/start"))
    assert check(path).exit_code == 0 and not (tmp_path / "made").exists()


def test_passwords_and_firmware_that_are_missing_are_told_and_stop_nothing(tmp_path: Path) -> None:
    path = installed(
        tmp_path,
        'firmware = "node.bundle"\n[broker]\nusername = "ada"\npassword_file = "one"\n'
        '[home_assistant]\nusername = "ada"\npassword_file = "two"\n',
    )
    told = check(path)
    assert told.exit_code == 0 and told.stdout.startswith("ok: ")
    for what in ("firmware of main: ", "broker password: ", "Home Assistant password: "):
        assert what in told.stderr
    for name in ("one", "two", "node.bundle"):
        (tmp_path / name).write_text("x")
    assert check(path).stderr == ""


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's powers, where the block has them."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_key_that_only_the_agent_may_read_is_no_failure_for_who_checks_by_hand() -> None:
    with TemporaryDirectory() as folder:
        path = installed(Path(folder))
        check(path)  # what it imports late, nobody may not be allowed to read
        Path(folder).chmod(0o755)
        (Path(folder) / "home.key").chmod(0)
        with as_nobody():
            told = check(path)
    assert told.exit_code == 0 and "key: " in told.stderr

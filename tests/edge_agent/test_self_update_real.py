"""The agent of this repository itself, as a wheel, in a slot: it runs its own code and keeps the slots it lies in."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from edge_agent.shell.self_update import SelfUpdate
from tests.edge_agent.test_self_update import bundle_of, config_of, write_config
from tests.house_rules import ROOT

ROOMS = ("contracts", "device_profiles", "firmware_bridge", "edge_agent")


def real_wheel(path: Path) -> Path:
    """The rooms an agent needs, as the build puts them into a wheel."""
    with zipfile.ZipFile(path, "w") as wheel:
        for room in ROOMS:
            for file in sorted((ROOT / room).rglob("*")):
                if file.suffix in (".py", ".toml", ".json") and "solidity" not in file.parts:
                    wheel.write(file, file.relative_to(ROOT))
    return path


@pytest.mark.slow
def test_the_real_agent_runs_from_a_slot_and_manages_its_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = real_wheel(tmp_path / "energy_grid-1-py3-none-any.whl")
    monkeypatch.setattr("tests.edge_agent.test_self_update.wheel_of", lambda folder, body: wheel)
    config = str(write_config(tmp_path))
    slots = SelfUpdate(config_of(tmp_path), lambda: 1_800_000_000)
    slots.apply(bundle_of(tmp_path, "", 3))
    assert slots.boot() == "b"
    agent = str(tmp_path / "slots" / "current" / "edge-agent")

    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([agent, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/")

    assert "eastron_sdm630" in said("profile", "list").stdout.split()
    status = said("update", "status", "-c", config)
    assert "slot b is on trial, 2 start(s) left" in status.stdout, status.stderr
    code = "import edge_agent; print(edge_agent.__file__)"
    launcher = (tmp_path / "slots" / "b" / "edge-agent").read_text()
    own = launcher.replace("from edge_agent.cli import main\nmain()", code)
    (tmp_path / "slots" / "b" / "where").write_text(own)
    python = own.split("\n", 1)[0].removeprefix("#!")
    where = subprocess.run([python, str(tmp_path / "slots" / "b" / "where")], capture_output=True, text=True, cwd="/")
    assert Path(where.stdout.strip()).is_relative_to((tmp_path / "slots" / "b" / "lib").resolve())
    assert said("update", "confirm", "-c", config).returncode == 1, "its doctor finds no key and no broker"
    assert slots.boot() == "a"

"""Bundles as makers really make them, and what a gateway's systemd does with a version that is sick."""

from __future__ import annotations

import io
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.cli import app
from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.shell.bundle_files import LocalBundleError, fits_here, pack_image, unpack_image
from edge_agent.shell.key_store import key_path
from edge_agent.shell.self_update import RemoteUpdateError, end_process
from edge_agent.systemd_unit import CREDENTIALS_FOLDER, unit_text
from firmware_bridge.manifest import Manifest, Payload
from tests.edge_agent.test_self_update import (
    BETTER,
    RUN,
    SICK,
    bundle_of,
    config_of,
    confirmed,
    runs,
    wheel_of,
    write_config,
)
from tests.house_rules import ROOT

MACHINE = platform.machine()
PYTHON = f"cp3{sys.version_info[1]}"
OTHER = {"x86_64": "aarch64"}.get(MACHINE, "x86_64")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        (f"a-1-{PYTHON}-{PYTHON}-manylinux_2_17_{MACHINE}.manylinux2014_{MACHINE}.whl", True),
        (f"a-1-2-{PYTHON}-{PYTHON}-manylinux2014_{MACHINE}.whl", True),
        (f"a-1-cp38-abi3-manylinux2014_{MACHINE}.whl", True),
        (f"a-1-{PYTHON}-{PYTHON}-manylinux2014_{OTHER}.whl", False),
        (f"a-1-cp38-cp38-manylinux2014_{MACHINE}.whl", False),
        (f"a-1-cp399-abi3-manylinux2014_{MACHINE}.whl", False),
        ("a-1-py2-none-any.whl", False),
        ("a.whl", False),
    ],
)
def test_a_wheel_says_by_its_name_whether_it_is_for_this_machine(name: str, fits: bool) -> None:
    assert fits_here(name) is fits


def test_a_wheel_for_several_platforms_has_a_long_name_and_goes_in_and_out(tmp_path: Path) -> None:
    platforms = ".".join(f"{one}_{MACHINE}" for one in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"))
    wheel = wheel_of(tmp_path, BETTER, f"safe_pysha3_with_more-1.0.7-{PYTHON}-{PYTHON}-{platforms}.whl")
    assert len(wheel.name) > 100
    payload, image = pack_image([wheel])
    (tmp_path / "slot").mkdir()
    unpack_image(io.BytesIO(image), Manifest(bytes(16), bytes(16), 1, 1, 1, bytes(32), "1", payload), tmp_path / "slot")
    assert (tmp_path / "slot/lib/edge_agent/cli.py").exists()
    assert list((tmp_path / "slot/lib/edge_agent/__pycache__").glob("cli.*.pyc")), "the agent itself may not write here"


def test_a_bundle_for_another_machine_is_refused_before_it_is_on_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = confirmed(tmp_path)
    name = f"edge_agent-1-{PYTHON}-{PYTHON}-manylinux2014_{OTHER}.whl"
    with monkeypatch.context() as patched:
        patched.setattr("tests.edge_agent.test_self_update.wheel_of", lambda *words: wheel_of(*words, name=name))
        foreign = bundle_of(tmp_path, BETTER, 2)
    with pytest.raises(RemoteUpdateError, match="is not for this machine"):
        slots.apply(foreign)
    assert slots.boot() == "b" and runs(tmp_path) == "good"
    slots.apply(bundle_of(tmp_path, BETTER, 3))
    assert slots.boot() == "a" and runs(tmp_path) == "better"


@pytest.fixture
def deaf_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not listen to SIGTERM."""
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        process.kill()


def test_a_sick_version_is_ended_even_when_it_does_not_listen(deaf_process: subprocess.Popen[bytes]) -> None:
    end_process(deaf_process.pid, lambda _: None)
    assert deaf_process.wait(10) == -signal.SIGKILL
    end_process(deaf_process.pid, lambda _: None)  # there is nothing left to end


def test_a_rolled_back_version_does_not_go_on_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd names the process it has just started in MAINPID; Restart=always then begins with the old version."""
    slots = confirmed(tmp_path)
    monkeypatch.setattr("edge_agent.commands.update._slots", lambda config: slots)
    config = str(write_config(tmp_path))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        monkeypatch.setenv("MAINPID", str(process.pid))
        monkeypatch.setattr("edge_agent.shell.self_update.time.sleep", lambda _: process.poll())
        ordinary = RUN.invoke(app, ["update", "confirm", "-c", config])
        assert (ordinary.exit_code, ordinary.output) == (0, "nothing is on trial\n") and process.poll() is None
        slots.apply(bundle_of(tmp_path, SICK, 2))
        slots.boot()
        done = RUN.invoke(app, ["update", "confirm", "-c", config])
        assert done.exit_code == 1 and "rolled back: doctor" in done.output
        assert process.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)
    assert slots.boot() == "b" and runs(tmp_path) == "good"


def credential_config(folder: Path) -> AgentConfig:
    path = write_config(folder)
    path.write_text(path.read_text().replace('file = "key"', 'credential = "key"'))
    return agent_config_from_toml(path)


def test_a_doctor_with_full_privileges_reads_the_key_that_systemd_names_and_does_not_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = credential_config(tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert key_path(config) == tmp_path / "key"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "not mounted"))
    assert key_path(config) == Path(CREDENTIALS_FOLDER) / "key"


def test_a_unit_with_a_ready_file_writes_it_and_a_sealed_key_asks_for_one(tmp_path: Path) -> None:
    update = replace(config_of(tmp_path), ready_file=Path("/var/lib/energy-grid/ready"))
    text = unit_text("/usr/bin/edge-agent", "/etc/agent.toml", (), False, update=update)
    assert "run --config /etc/agent.toml --metrics /var/lib/energy-grid/ready\n" in text
    path = write_config(tmp_path)
    words = ["install-service", "--dry-run", "--executable", "/usr/bin/edge-agent", "--encrypted", "-c", str(path)]
    refused = RUN.invoke(app, words)
    assert refused.exit_code == 78 and "ready_file is missing" in refused.output
    path.write_text(path.read_text() + 'ready_file = "ready"\n')
    assert RUN.invoke(app, words).exit_code == 0


def wheels_for(machine: str, folder: Path) -> Path:
    """The agent and everything it needs, as `pip download` finds it for a machine."""
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", str(folder / "own"), str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    wheel = next((folder / "own").glob("energy_grid-*.whl"))
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "-qq", "--only-binary=:all:", "--implementation", "cp",
            "--python-version", f"3{sys.version_info[1]}", "--platform", f"manylinux2014_{machine}",
            "--platform", f"manylinux_2_28_{machine}", "--constraint", str(ROOT / "constraints.txt"),
            "--dest", str(folder / "dist"), f"{wheel}[agent]",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "dist"


IMPORTS = """
import sys
import edge_agent.cli, edge_agent.shell.foreground, edge_agent.shell.runtime, edge_agent.shell.status_page
elsewhere = {name for name, module in sys.modules.items()
             if "site-packages" in (getattr(module, "__file__", None) or "")}
print(len(elsewhere))
"""


@pytest.mark.slow
def test_a_bundle_of_everything_runs_from_its_slot_alone(tmp_path: Path) -> None:
    payload, image = pack_image([wheels_for(MACHINE, tmp_path)])
    assert payload == Payload.WHEELS and 5 << 20 < len(image) < 30 << 20
    slot = tmp_path / "slot"
    slot.mkdir()
    unpack_image(io.BytesIO(image), Manifest(bytes(16), bytes(16), 1, 1, 1, bytes(32), "1", payload), slot)
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
    environment = {**os.environ, "PYTHONPATH": str(slot / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(base), "-S", "-c", IMPORTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert done.stdout == "0\n", done.stderr
    shown = subprocess.run([str(slot / "edge-agent"), "profile", "list"], capture_output=True, text=True, cwd="/")
    assert "eastron_sdm630" in shown.stdout.split(), shown.stderr


@pytest.mark.slow
def test_a_bundle_for_a_raspberry_pi_is_made_on_any_machine_and_taken_by_none_other(tmp_path: Path) -> None:
    payload, image = pack_image([wheels_for("aarch64", tmp_path)])
    (tmp_path / "slot").mkdir()
    manifest = Manifest(bytes(16), bytes(16), 1, 1, 1, bytes(32), "1", payload)
    if MACHINE == "aarch64":
        unpack_image(io.BytesIO(image), manifest, tmp_path / "slot")
        return
    with pytest.raises(LocalBundleError, match=f"aarch64.*is not for this machine.*{MACHINE}"):
        unpack_image(io.BytesIO(image), manifest, tmp_path / "slot")

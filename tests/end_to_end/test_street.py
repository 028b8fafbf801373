"""The whole journey on real sockets: a short day of a small street, in each way of running it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LIMIT_S = 240
SHORT = ("--homes", "4", "--intervals", "4", "--speed", "600", "--http", "none")


def street(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "simulators.cli", "street", "--out", str(out), *SHORT, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_a_short_day_ends_with_every_auditor_agreeing(tmp_path: Path) -> None:
    ended = street(tmp_path / "out")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "every auditor agrees" in ended.stdout
    assert len(re.findall(r"^  agrees ", ended.stdout, re.MULTILINE)) == 6
    for name in ("report.txt", "report.png", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 1_000
    assert (tmp_path / "out" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    ended = street(tmp_path)
    assert ended.returncode == 2
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[str]:
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        broker.terminate()
        broker.wait()


@pytest.mark.real("mosquitto")
def test_one_process_a_home_over_mosquitto_agrees_as_well(tmp_path: Path, mosquitto: str) -> None:
    ended = street(
        tmp_path / "out", "--processes", "--broker", mosquitto, "--speed", "300", "--homes", "2", "--intervals", "2"
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr

"""Builds the C reference node and runs it on a pseudo-terminal against the Python side."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firmware_bridge.manifest import Manifest, sign_manifest
from firmware_bridge.node import NodeDecoder, NodeMemory
from firmware_bridge.node_signature import link_key_of, node_signer_of, public_key_of
from firmware_bridge.telegram import Telegram

SOURCES = Path(__file__).resolve().parents[2] / "firmware_bridge" / "node"
NODE_KEY = bytes(31) + b"\x11"
GATEWAY_KEY = bytes(31) + b"\x12"
MAKER_KEYS = tuple(bytes(31) + bytes([0x20 + place]) for place in range(3))
VENDOR, MODEL, DEVICE = b"\x11" * 16, b"\x22" * 16, b"\x33" * 16


def build(program: str, folder: Path) -> Path:
    """Compiles with the Makefile's own flags and sources, sanitizers on; skips where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc) is installed")
    text = (SOURCES / "Makefile").read_text(encoding="utf-8")
    flags = " ".join(re.findall(r"^CFLAGS \+?= (.*)$", text, re.MULTILINE)).split()
    core = re.findall(r"^CORE = (.*)$", text, re.MULTILINE)[0].split()
    own = re.findall(rf"^\t.* -o \$@ (.*{program}_host\.c.*|.*main_host\.c.*) \$\(CORE\)$", text, re.MULTILINE)
    own = next(line.split() for line in own if (program == "vectors") == ("vectors_host.c" in line))
    target = folder / program
    command = [compiler, *flags, "-o", str(target), *(str(SOURCES / name) for name in [*own, *core])]
    subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL)
    return target


def envelope_of(image: bytes, sequence: int, signers: tuple[bytes, ...] = MAKER_KEYS[:2], **parts: object) -> bytes:
    """An update for the reference node, signed by the first two makers."""
    from hashlib import sha256

    fixed: dict[str, object] = {
        "vendor_id": VENDOR, "class_id": MODEL, "sequence": sequence, "expires_at_s": 2_000_000_000,
        "size": len(image), "digest": sha256(image).digest(), "version": f"1.{sequence}",
    }  # fmt: skip
    manifest = Manifest(**(fixed | parts))  # type: ignore[arg-type]
    return sign_manifest(manifest, {public_key_of(key): node_signer_of(key) for key in signers})


def decoder_of(memory: NodeMemory | None = None) -> NodeDecoder:
    """The gateway's side of the reference node's link."""
    return NodeDecoder(public_key_of(NODE_KEY), link_key_of(GATEWAY_KEY, public_key_of(NODE_KEY)), memory)


@dataclass
class Line:
    """A pseudo-terminal with a node on it that may be killed and started again, and faults on the wire."""

    program: Path
    folder: Path
    decoder: NodeDecoder = field(default_factory=decoder_of)
    interval_ms: int = 100
    writes_left: int = -1
    telegrams: list[Telegram] = field(default_factory=list)
    status: str = "S"
    clock_ms: int = 1_800_000_000_000

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.ends: list[int] = []
        self.is_closed = False
        self.process: subprocess.Popen[bytes] | None = None
        self.mangled = lambda chunk: chunk
        self.swallowed = lambda chunk: chunk
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        tty.setraw(self.master)

    def start(self) -> None:
        """Power on."""
        makers = ",".join(public_key_of(key).hex() for key in MAKER_KEYS)
        self.process = subprocess.Popen(
            [
                str(self.program), str(self.folder), NODE_KEY.hex(), public_key_of(GATEWAY_KEY).hex(), "2", makers,
                str(self.interval_ms), str(self.writes_left),
            ],
            stdin=self.slave,
            stdout=self.slave,
        )  # fmt: skip

    def gateway_device(self) -> str:
        """A path at which an agent opens the other end of the line: bytes are passed on between two terminals."""
        other, end = pty.openpty()
        tty.setraw(end)
        self.ends += [other, end]
        thread = threading.Thread(target=self._pass_on, args=(other,), daemon=True)
        thread.start()
        return os.ttyname(end)

    def _pass_on(self, other: int) -> None:
        while not self.is_closed:
            ready, _, _ = select.select([self.master, other], [], [], 0.05)
            for end in ready:
                chunk = os.read(end, 4096)
                os.write(other if end == self.master else self.master, chunk)

    def kill(self) -> None:
        """Power off, in whatever it is doing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        self.is_closed = True
        time.sleep(0.1 if self.ends else 0)
        for end in (self.master, self.slave, *self.ends):
            os.close(end)

    def now_ms(self) -> int:
        return self.clock_ms + int(time.monotonic() * 1000)

    def turn(self) -> None:
        """Reads what came and writes what is due."""
        ready, _, _ = select.select([self.master], [], [], 0.005)
        if ready:
            chunk = self.mangled(os.read(self.master, 4096))
            self.telegrams += self.decoder.feed(chunk)
        written = self.swallowed(self.decoder.outgoing(self.now_ms(), self.status))
        if written:
            os.write(self.master, written)

    def until(self, condition: object, seconds: float = 60.0) -> None:
        """Turns until ``condition()``; fails after so many seconds."""
        assert callable(condition)
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (
                f"not within {seconds} s: {len(self.telegrams)} telegrams, refused {dict(self.decoder.refused)}, "
                f"{self.decoder.memory}, update {self.decoder.update and self.decoder.update.progress}"
            )
            self.turn()

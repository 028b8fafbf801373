"""Secure elements of tests: a key in a file, and a program as a maker's tools would be."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.shell.key_store import write_private

ROOT = Path(__file__).resolve().parents[2]
ELEMENT_KEY = b"\x11" * 32
SCRIPT = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
from contracts.p256 import ORDER, public_key_of, sign
key = bytes.fromhex({ELEMENT_KEY.hex()!r})
if sys.argv[-1] == "public-key":
    print(b"".join(public_key_of(key)).hex())
elif sys.argv[-1] == "sign":
    made = sign(key, bytes.fromhex(sys.stdin.read().strip()))
    print((made[:32] + (ORDER - int.from_bytes(made[32:], "big")).to_bytes(32, "big")).hex().upper())
else:
    sys.exit(2)
"""
"""An element that gives high s and capital letters, as some do."""


def element_file(folder: Path, text: str = ELEMENT_KEY.hex()) -> Path:
    path = folder / "element.key"
    write_private(path, text)
    return path


def program(folder: Path, text: str = SCRIPT) -> tuple[str, ...]:
    """A program as the maker's tools would be."""
    path = folder / "element.py"
    path.write_text(text)
    return sys.executable, str(path)

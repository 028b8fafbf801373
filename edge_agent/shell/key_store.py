"""The home's key: 32 bytes as hexadecimal text in a file that only its owner reads.

Keystore v3 (encrypted JSON) is imported and exported with eth_account where that is installed; running never needs it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path

from contracts.signature import CURVE_ORDER, address_of


class KeyFileError(Exception):
    """The key file is missing, unreadable, no key, or readable by others."""


def read_key(path: Path) -> bytes:
    """The key. Raises KeyFileError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip().removeprefix("0x")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be read: {error}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(f"{path}: others may read it (mode {stat.S_IMODE(mode):04o}); chmod 600 {path}")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32 or not 0 < int.from_bytes(key, "big") < CURVE_ORDER:
        raise KeyFileError(f"{path}: does not hold a key of 64 hexadecimal digits")
    return key


def write_key(path: Path, key: bytes) -> None:
    """Stores a key, 0600. Raises KeyFileError where something is there already or the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{path}: there is a key already; it is never overwritten") from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error}") from error


def new_key() -> bytes:
    """A fresh key from the system's randomness."""
    while True:
        key = secrets.token_bytes(32)
        if 0 < int.from_bytes(key, "big") < CURVE_ORDER:
            return key


def address_text(key: bytes) -> str:
    """The key's address as 0x-hex."""
    return "0x" + address_of(key).hex()


def import_keystore(path: Path, password: str) -> bytes:
    """The key in a v3 keystore. Raises KeyFileError, also where eth_account is not installed."""
    try:
        from eth_account import Account

        return bytes(Account.decrypt(json.loads(path.read_text(encoding="utf-8")), password))
    except ImportError as error:
        raise KeyFileError("keystores need eth_account: pip install 'energy-grid[coordinator]'") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{path}: cannot be opened: {error}") from error


def export_keystore(key: bytes, password: str) -> str:
    """The key as v3 keystore JSON. Raises KeyFileError where eth_account is not installed."""
    try:
        from eth_account import Account
    except ImportError as error:
        raise KeyFileError("keystores need eth_account: pip install 'energy-grid[coordinator]'") from error
    return json.dumps(Account.encrypt(key, password))

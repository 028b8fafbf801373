"""The home's key: 32 bytes in a file that only its owner reads, as hexadecimal text or as an encrypted v3 keystore.

Files are named in the configuration, or handed over by systemd as credentials; passwords likewise. `home_key` gives
the key that counts now: after the instant of a rotation it is the next one.
"""

from __future__ import annotations

import os
import secrets
import stat
import uuid
from dataclasses import replace
from pathlib import Path

from contracts.signature import CURVE_ORDER, address_of
from edge_agent.config import AgentConfig
from edge_agent.systemd_unit import CREDENTIALS_FOLDER

RUN_LIMIT_BYTES = 64 << 20
"""Memory for opening a keystore in the running agent: below the unit's MemoryMax; what we write needs half of it."""


class KeyFileError(Exception):
    """The key file is missing, unreadable, no key, or readable by others."""


def home_key(config: AgentConfig, now_s: int) -> tuple[AgentConfig, bytes]:
    """The key that signs at ``now_s``, and the configuration with the account it signs for. Raises KeyFileError."""
    if not is_rotated(config, now_s):
        return config, read_key(key_path(config), _password(config))
    found = config.key
    key = read_key(_path_of(found.next_file, found.next_credential), _password(config))
    account = config.home.account if found.next_account is None else found.next_account
    return replace(config, home=replace(config.home, account=account)), key


def is_rotated(config: AgentConfig, now_s: int) -> bool:
    """Whether the next key counts at ``now_s``."""
    return config.key.next_at_s is not None and now_s >= config.key.next_at_s


def key_path(config: AgentConfig) -> Path:
    """Where the present key lies. Raises KeyFileError where nothing is configured."""
    return _path_of(config.key_file, config.key.credential)


def _path_of(file: Path | None, credential: str) -> Path:
    if file is not None:
        return file
    if not credential:
        raise KeyFileError("no key file is configured")
    handed_over = Path(os.environ.get("CREDENTIALS_DIRECTORY") or CREDENTIALS_FOLDER)
    # By hand, outside the unit, where systemd would have taken it from. Likewise in the unit's commands with full
    # privileges (`+`), for which systemd 252 names the folder of credentials and does not mount it.
    return (handed_over if handed_over.is_dir() else Path(CREDENTIALS_FOLDER)) / credential


def _password(config: AgentConfig) -> str | None:
    found = config.key
    if found.password_file is None and not found.password_credential:
        return None
    return private_text(_path_of(found.password_file, found.password_credential)).rstrip("\r\n")


def read_key(path: Path, password: str | None = None) -> bytes:
    """The key; an encrypted one needs its password. Raises KeyFileError."""
    text = private_text(path).strip()
    if text.startswith("{"):
        if password is None:
            raise KeyFileError(f"{path}: is encrypted; [key] password_file or password_credential is missing")
        return _opened(path, text, password, RUN_LIMIT_BYTES)
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if not _is_key(key):
        raise KeyFileError(f"{path}: does not hold a key of 64 hexadecimal digits")
    return key


def _is_key(key: bytes) -> bool:
    return len(key) == 32 and 0 < int.from_bytes(key, "big") < CURVE_ORDER


def is_encrypted(path: Path) -> bool:
    """Whether a key file is a keystore. Raises KeyFileError."""
    return private_text(path).lstrip().startswith("{")


def private_text(path: Path) -> str:
    """A small file that others may not read. Raises KeyFileError.

    Systemd lets nobody but us into the folder of its credentials; what the group's bits say there is the list's mask.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be read: {error}") from error
    handed_over = str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY")
    if os.name == "posix" and mode & (0o007 if handed_over else 0o077):
        raise KeyFileError(f"{path}: others may read it (mode {mode:04o}); chmod 600 {path}")
    return text


def write_key(path: Path, key: bytes) -> None:
    """Stores a key, 0600. Raises KeyFileError where something is there already or the disk refuses."""
    write_private(path, key.hex() + "\n")


def write_private(path: Path, text: str) -> None:
    """Stores a text, 0600, never over another one. Raises KeyFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
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
    """The key in a v3 keystore of any wallet. Raises KeyFileError."""
    from edge_agent.keystore import READ_LIMIT_BYTES

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be opened: {error}") from error
    return _opened(path, text, password, READ_LIMIT_BYTES)


def _opened(path: Path, text: str, password: str, limit_bytes: int) -> bytes:
    from edge_agent.keystore import RemoteKeystoreError, decrypt

    try:
        key = decrypt(text, password, limit_bytes)
    except RemoteKeystoreError as error:
        raise KeyFileError(f"{path}: cannot be opened: {error}") from error
    if not _is_key(key):
        raise KeyFileError(f"{path}: what it holds is no key")
    return key


def export_keystore(key: bytes, password: str) -> str:
    """The key as v3 keystore JSON, openable by the running agent and by wallets."""
    from edge_agent.keystore import encrypt

    identity = str(uuid.uuid4())
    return encrypt(key, password, secrets.token_bytes(32), secrets.token_bytes(16), identity, address_text(key))

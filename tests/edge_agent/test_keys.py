"""Keys: encrypted files that any wallet opens, credentials, private modes, and the change to the next key."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.signature import address_of
from edge_agent.config import AgentConfig
from edge_agent.config_site import KeyConfig, StatusConfig
from edge_agent.keystore import RemoteKeystoreError, decrypt, encrypt
from edge_agent.shell import foreground
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.key_store import KeyFileError, home_key, write_key, write_private
from tests.edge_agent.conftest import ADA_KEY, CY_KEY, ada_config

Runner = Callable[[Awaitable[None]], None]
SALT, NONCE = bytes(range(32)), b"\xff" * 16
ROOT = Path(__file__).resolve().parents[2]


def keystore(key: bytes = ADA_KEY, password: str = "secret") -> str:
    """What the agent writes."""
    return encrypt(key, password, SALT, NONCE, "00000000-0000-4000-8000-000000000000", "0x" + address_of(key).hex())


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_wallets_open_our_keystores_and_we_theirs(kdf: str) -> None:
    assert bytes(Account.decrypt(json.loads(keystore(CY_KEY, "päss wörd")), "päss wörd")) == CY_KEY
    rounds = 4_096 if kdf == "scrypt" else 1_000
    theirs = json.dumps(Account.encrypt(CY_KEY, "x", kdf=kdf, iterations=rounds))
    assert decrypt(theirs, "x") == CY_KEY


@settings(max_examples=8)
@given(st.integers(1, 2**255).map(lambda number: number.to_bytes(32, "big")), st.text(max_size=12), st.integers(1, 255))
def test_a_wrong_password_and_a_changed_file_never_give_a_key(key: bytes, password: str, change: int) -> None:
    text = json.dumps(Account.encrypt(key, password, kdf="pbkdf2", iterations=2))
    assert decrypt(text, password) == key
    with pytest.raises(RemoteKeystoreError, match="password"):
        decrypt(text, password + "x")
    document = json.loads(text)
    secret = bytearray.fromhex(document["crypto"]["ciphertext"])
    secret[change % 32] ^= change
    document["crypto"]["ciphertext"] = secret.hex()
    with pytest.raises(RemoteKeystoreError, match="damaged"):
        decrypt(json.dumps(document), password)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: st.dictionaries(
            st.sampled_from(["version", "crypto", "kdf", "kdfparams", "cipherparams", "iv", "mac", "x"]), inner
        ),
        max_leaves=9,
    )
)
def test_nonsense_is_refused_and_nothing_else_is_raised(document: object) -> None:
    with pytest.raises(RemoteKeystoreError):
        decrypt(json.dumps(document), "x")


def test_a_keystore_that_asks_for_too_much_is_refused_before_it_gets_it() -> None:
    document = json.loads(keystore())
    document["crypto"]["kdfparams"] |= {"n": 1 << 24, "r": 8}
    with pytest.raises(RemoteKeystoreError, match="MB"):
        decrypt(json.dumps(document), "secret", 64 << 20)
    document["crypto"]["kdfparams"] |= {"n": 1 << 40}
    with pytest.raises(RemoteKeystoreError, match="range"):
        decrypt(json.dumps(document), "secret")


def keyed(tmp_path: Path, **key: object) -> AgentConfig:
    """Ada's configuration with that `[key]`."""
    return replace(ada_config(tmp_path), key=KeyConfig(**key))  # type: ignore[arg-type]


def test_an_encrypted_key_runs_with_the_password_from_a_private_file(tmp_path: Path) -> None:
    write_private(tmp_path / "key", keystore())
    write_private(tmp_path / "password", "secret\n")
    assert home_key(keyed(tmp_path, password_file=tmp_path / "password"), 0)[1] == ADA_KEY
    with pytest.raises(KeyFileError, match="password_file"):
        home_key(ada_config(tmp_path), 0)
    (tmp_path / "password").chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        home_key(keyed(tmp_path, password_file=tmp_path / "password"), 0)


def test_key_and_password_may_be_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = tmp_path / "handed"
    write_private(handed / "key", keystore())
    write_private(handed / "password", "secret\n")
    for file in handed.iterdir():
        file.chmod(0o440)  # what systemd's access list looks like
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    config = replace(keyed(tmp_path, credential="key", password_credential="password"), key_file=None)
    assert home_key(config, 0)[1] == ADA_KEY
    assert config.lease_file == tmp_path / "outbox.db.lease"
    (handed / "key").chmod(0o444)
    with pytest.raises(KeyFileError, match="others may read it"):
        home_key(config, 0)


def test_the_next_key_and_its_account_count_from_their_instant_on(tmp_path: Path) -> None:
    write_key(tmp_path / "key", ADA_KEY)
    write_key(tmp_path / "key.next", CY_KEY)
    config = keyed(tmp_path, next_file=tmp_path / "key.next", next_at_s=1_000, next_account=9)
    assert home_key(config, 999) == (config, ADA_KEY)
    later, key = home_key(config, 1_000)
    assert key == CY_KEY and later.home.account == 9 and later.lease_file == config.lease_file


def test_a_running_agent_changes_to_the_next_key_by_itself(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(tmp_path / "key", ADA_KEY)
    write_key(tmp_path / "key.next", CY_KEY)
    clock = ScaledClock(time.time(), 1_750_000_000, 20.0)
    config = replace(
        keyed(tmp_path, next_file=tmp_path / "key.next", next_at_s=1_750_000_040, next_account=9),
        status=StatusConfig(enabled=False),
    )
    seen: list[tuple[int, bytes]] = []

    class Watched(foreground.Running):
        def __init__(self, present: AgentConfig, clock: ScaledClock, key: bytes) -> None:
            super().__init__(present, clock, key)
            seen.append((present.home.account, key))

    monkeypatch.setattr(foreground, "Running", Watched)

    async def story() -> None:
        told = asyncio.Event()
        await foreground._with_one_key(config, clock, None, told)
        assert clock.now_ms() // 1000 >= 1_750_000_040 and not told.is_set()
        second = asyncio.create_task(foreground._with_one_key(config, clock, None, told))
        await asyncio.sleep(0.3)
        told.set()
        await asyncio.wait_for(second, 10)

    run(story())
    assert seen == [(7, ADA_KEY), (9, CY_KEY)]


def agent(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own."""
    command = [sys.executable, "-m", "edge_agent.cli", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, input=text, check=False)


def test_the_commands_make_an_encrypted_key_and_tell_its_address(tmp_path: Path) -> None:
    write_private(tmp_path / "password", "secret\n")
    words = ("--password-file", str(tmp_path / "password"))
    made = agent("key", "new", str(tmp_path / "key"), "--encrypted", *words)
    assert made.returncode == 0, made.stderr
    assert "scrypt" in (tmp_path / "key").read_text() and (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert agent("key", "address", str(tmp_path / "key"), *words).stdout == made.stdout
    assert agent("key", "new", str(tmp_path / "key"), "--encrypted", *words).returncode == 1

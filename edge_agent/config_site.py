"""What an installer decides about the place the agent runs at: its key, its page, the home's own broker.

No secret stands here: keys and passwords are files, or credentials that systemd hands to the agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """Where the key comes from besides its file, its password, and the key that follows it.

    ``credential`` and ``password_credential`` are names of systemd credentials. From ``next_at_s`` on the agent signs
    with the next key, for ``next_account`` where that differs: on the chain an account has one key for good.
    ``element_command`` is the program, with its arguments, that asks a secure element for `key attest`.
    """

    credential: str = ""
    password_file: Path | None = None
    password_credential: str = ""
    next_file: Path | None = None
    next_credential: str = ""
    next_at_s: int | None = None
    next_account: int | None = None
    element_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """The page for people in the house; it shows and never takes a command.

    ``proxy`` is the address of one that asks for people whom it has let in, by whatever name they called it.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8099
    proxy: str = ""


@dataclass(frozen=True, slots=True)
class HomeAssistantConfig:
    """The home's own broker, where Home Assistant listens; states are told every ``every_s``."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None
    discovery_prefix: str = "homeassistant"
    base_topic: str = "energy-grid"
    every_s: int = 10

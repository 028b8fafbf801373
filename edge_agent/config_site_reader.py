"""Reads `[key]`, `[status]` and `[home_assistant]` of the agent's TOML file."""

from __future__ import annotations

import ipaddress
import re
import shlex
from datetime import datetime
from pathlib import Path

from contracts.messages import ACCOUNT_LIMIT
from edge_agent.config_section import Section
from edge_agent.config_site import HomeAssistantConfig, KeyConfig, StatusConfig

_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}")


def read_key_file(table: Section, folder: Path) -> Path | None:
    """The file of the key; None where it is a credential. One of both must be there."""
    has_file, has_credential = "file" in table.values, "credential" in table.values
    if has_file and has_credential:
        table.refuse("file and credential exclude each other")
    return None if has_credential else folder / table.text("file")


def read_key_config(table: Section, folder: Path) -> KeyConfig:
    """The rest of `[key]`."""
    following = {"next_file", "next_credential"}.intersection(table.values)
    if len(following) > 1:
        table.refuse("next_file and next_credential exclude each other")
    if bool(following) != ("next_at" in table.values):
        table.refuse("next_at and one of next_file and next_credential belong together")
    if {"password_file", "password_credential"} <= set(table.values):
        table.refuse("password_file and password_credential exclude each other")
    return KeyConfig(
        _credential(table, "credential"),
        _path(table, "password_file", folder),
        _credential(table, "password_credential"),
        _path(table, "next_file", folder),
        _credential(table, "next_credential"),
        _instant_s(table, "next_at"),
        table.optional_integer("next_account", 1, ACCOUNT_LIMIT - 1),
        _command(table, "element_command"),
    )


def read_status(table: Section) -> StatusConfig:
    """`[status]`."""
    base = StatusConfig()
    status = StatusConfig(
        table.flag("enabled", base.enabled),
        table.text("host", base.host),
        table.integer("port", 1, 65_535, base.port),
        _address(table, "proxy"),
    )
    table.done()
    return status


def _address(table: Section, key: str) -> str:
    """An IP address as Python writes it, to be compared with a peer's; empty where there is none."""
    text = table.text(key, "")
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        table.refuse(f"{key} is {text!r}, allowed is an IP address")
        return ""


def read_home_assistant(table: Section, folder: Path) -> HomeAssistantConfig:
    """`[home_assistant]`."""
    base = HomeAssistantConfig()
    found = HomeAssistantConfig(
        table.flag("enabled", base.enabled),
        table.text("host", base.host),
        table.integer("port", 1, 65_535, base.port),
        table.text("username", "") or None,
        _path(table, "password_file", folder),
        _topic(table, "discovery_prefix", base.discovery_prefix),
        _topic(table, "base_topic", base.base_topic),
        table.integer("every_s", 1, 3_600, base.every_s),
    )
    table.done()
    return found


def _path(table: Section, key: str, folder: Path) -> Path | None:
    text = table.text(key, "")
    return folder / text if text else None


def _credential(table: Section, key: str) -> str:
    text = table.text(key, "")
    if text and not _CREDENTIAL.fullmatch(text):
        table.refuse(f"{key} is {text!r}, allowed is the name of a systemd credential")
        return ""
    return text


def _topic(table: Section, key: str, default: str) -> str:
    text = table.text(key, default)
    if not _TOPIC.fullmatch(text):
        table.refuse(f"{key} is {text!r}, allowed are up to four levels of letters, digits, - and _")
        return default
    return text


def _command(table: Section, key: str) -> tuple[str, ...]:
    """A program and its arguments, split as a shell does; no shell runs it."""
    try:
        return tuple(shlex.split(table.text(key, "")))
    except ValueError as error:
        table.refuse(f"{key} cannot be split into program and arguments: {error}")
        return ()


def _instant_s(table: Section, key: str) -> int | None:
    table.seen.add(key)
    value = table.values.get(key)
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        table.refuse(f"{key} must be a date and time with its offset, like 2030-01-31T00:00:00Z")
        return None
    return int(value.timestamp())

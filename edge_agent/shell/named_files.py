"""What the configuration names on disk, and whether the agent could use it: `config check`, `doctor` and `run` ask it.

Looked at are the key, its password and the next key, link keys and firmware of nodes, the store's folder, and the
password files of both brokers. Profiles are checked when the configuration is loaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.config import AgentConfig, ConfigError, MeterConfig
from edge_agent.shell.broker import password_of
from edge_agent.shell.key_store import KeyFileError, home_key, is_rotated
from edge_agent.shell.node_link import node_decoder

KEY, STORE, PASSWORDS = "key", "store", ("broker password", "Home Assistant password")
_KEY_CURE = "edge-agent key new FILE, or the mode and owner of the file"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One file that cannot be used. ``stops``: the agent would not start. ``ends``: it would end when it comes to it.

    ``denied``: it is there, but not for who asks; the agent's own user may well read it.
    """

    what: str
    text: str
    cure: str
    stops: bool = True
    ends: bool = False
    denied: bool = False


def troubles(config: AgentConfig) -> Iterator[Trouble]:
    """Everything that is wrong with what the configuration names, what it needs first first."""
    now_s = int(time.time())
    yield from _unusable(KEY, _KEY_CURE, lambda: home_key(config, now_s))
    at_s = config.key.next_at_s
    if at_s is not None and not is_rotated(config, now_s):
        cure = "edge-agent key rotate makes it; when its time comes the agent could not go on"
        for trouble in _unusable("next key", cure, lambda: home_key(config, at_s), stops=False):
            yield replace(trouble, ends=True)
    for meter in config.meters:
        if meter.node is not None:
            yield from _of_node(meter)
    yield from _store(config.store.parent)
    house = config.home_assistant
    files = [(PASSWORDS[0], config.broker.password_file)]
    if house is not None and house.enabled:
        files.append((PASSWORDS[1], house.password_file))
    for what, path in files:
        cure = "write the password to that file, readable for the agent; without it the broker is never reached"
        yield from _unusable(what, cure, lambda path=path: password_of(path), stops=False)  # type: ignore[misc]


def _node_key(meter: MeterConfig) -> Iterator[Trouble]:
    cure = "edge-agent node key FILE makes it; mode 0600, owned by the agent's user"
    return _unusable(f"node {meter.name}", cure, lambda: node_decoder(meter))


def _of_node(meter: MeterConfig) -> Iterator[Trouble]:
    yield from _node_key(meter)
    firmware = meter.node.firmware if meter.node is not None else None
    if firmware is not None:
        cure = "the bundle as `edge-agent update pack` made it; until then the node keeps what it has"
        what = f"firmware of {meter.name}"
        yield from _unusable(what, cure, lambda: firmware.open("rb").close(), stops=False)


def _unusable(what: str, cure: str, use: Callable[[], object], stops: bool = True) -> Iterator[Trouble]:
    """Tries it as the agent would."""
    try:
        use()
    except (ConfigError, KeyFileError, OSError, ValueError) as error:
        yield Trouble(what, str(error), cure, stops, denied=_is_denied(error))


def _is_denied(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, PermissionError):
        error = error.__cause__
    return error is not None


def _store(folder: Path) -> Iterator[Trouble]:
    """The agent makes the store's folder where it is missing, and cannot where a file stands in its way."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    is_denied = above.is_dir() and above != folder and not os.access(above, os.W_OK | os.X_OK)
    if is_denied or not above.is_dir():
        text = f"{folder}: cannot be made, {above} is {'not ours to write' if is_denied else 'no folder'}"
        yield Trouble(STORE, text, f"install -d -m 700 {folder}, owned by the agent's user", denied=is_denied)


def without_broken_nodes(config: AgentConfig) -> AgentConfig:
    """The configuration with only those meters that can be asked: nodes whose key is of no use are left out."""
    broken = {meter.name for meter in config.meters if meter.node is not None and any(_node_key(meter))}
    return replace(config, meters=tuple(meter for meter in config.meters if meter.name not in broken))

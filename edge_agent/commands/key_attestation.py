"""`edge-agent key attest` and `key show-attestation`: a secure element vouches for the key that signs for this home."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.commands.start import (
    CONFIGURATION,
    DEFAULT_CONFIG,
    FAILED,
    UNAVAILABLE,
    ConfigOption,
    failed,
    load_config,
)

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig
    from edge_agent.shell.secure_element import SecureElement

DAYS_LIMIT = 3_660
"""The contract takes no longer time either."""
NextOption = Annotated[bool, typer.Option("--next", help="Of the key that follows ([key] next_file).")]


def register_attestation(key_app: typer.Typer) -> None:
    """Adds the commands."""
    key_app.command("attest")(key_attest)
    key_app.command("show-attestation")(key_show_attestation)


def key_attest(
    config: ConfigOption = DEFAULT_CONFIG,
    element_key: Annotated[Path | None, typer.Option(help="For trials: a P-256 key in a file (0600).")] = None,
    element_command: Annotated[
        str | None, typer.Option(help="Program that asks the element; default: [key] element_command.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=DAYS_LIMIT, help="How long it is to count.")] = 365,
    following: NextOption = False,
) -> None:
    """Have a secure element vouch for the home's key, and keep its word beside the key."""
    from edge_agent.shell.attesting import attest
    from edge_agent.shell.origin import AttestationFileError, attestation_path, write_attestation
    from edge_agent.shell.secure_element import ElementError

    loaded = load_config(config)
    at_s = _instant_s(loaded, following)
    used, address = _key_at(loaded, at_s)
    try:
        element = _element(loaded, element_key, element_command)
        signed = attest(used, address, element, int(time.time()), days)
        path = attestation_path(loaded, at_s)
        write_attestation(path, signed)
    except ElementError as error:
        raise failed(str(error), UNAVAILABLE) from error
    except AttestationFileError as error:
        raise failed(str(error), FAILED) from error
    until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(signed.attestation.valid_until_s))
    typer.echo(f"""\
{path}: the element vouches for 0x{address.hex()}, account {used.home.account}, until {until} UTC
element 0x{signed.element.hex()}
Give the element's key to the operator, and start the agent again.""")


def key_show_attestation(config: ConfigOption = DEFAULT_CONFIG, following: NextOption = False) -> None:
    """Show who vouches for the home's key, and whether that counts now."""
    from edge_agent.shell.origin import look

    loaded = load_config(config)
    at_s = _instant_s(loaded, following)
    used, address = _key_at(loaded, at_s)
    found = look(used, address, at_s)
    if found is None:
        raise failed(f"0x{address.hex()}: no element vouches for it", FAILED)
    if found.signed is not None:
        said = found.signed.attestation
        times = [time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in (said.valid_from_s, said.valid_until_s)]
        typer.echo(f"""\
address 0x{said.session_address.hex()}
account {said.account}
element 0x{found.signed.element.hex()}
counts  {times[0]} to {times[1]} UTC""")
    if found.refusal is not None:
        raise failed(f"{found.path}: {found.refusal.value}", FAILED)
    typer.echo("ok")


def _instant_s(config: AgentConfig, following: bool) -> int:
    """Now, or when the next key counts."""
    if not following:
        return int(time.time())
    if config.key.next_at_s is None:
        raise failed("no key follows: [key] next_at is missing", CONFIGURATION)
    return max(config.key.next_at_s, int(time.time()))


def _key_at(config: AgentConfig, at_s: int) -> tuple[AgentConfig, bytes]:
    from contracts.signature import address_of
    from edge_agent.shell.key_store import KeyFileError, home_key

    try:
        used, key = home_key(config, at_s)
    except KeyFileError as error:
        raise failed(str(error), CONFIGURATION) from error
    return used, address_of(key)


def _element(config: AgentConfig, file: Path | None, command: str | None) -> SecureElement:
    from edge_agent.shell.secure_element import CommandElement, SoftwareElement

    if file is not None and command is not None:
        raise failed("--element-key and --element-command exclude each other", CONFIGURATION)
    if file is not None:
        return SoftwareElement(file)
    try:
        words = config.key.element_command if command is None else tuple(shlex.split(command))
    except ValueError as error:
        raise failed(f"--element-command: {error}", CONFIGURATION) from error
    if not words:
        raise failed("name the element: --element-key, --element-command or [key] element_command", CONFIGURATION)
    return CommandElement(words)

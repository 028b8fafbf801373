"""`edge-agent key …`: the key that signs for this home."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.commands.start import CONFIGURATION, DEFAULT_CONFIG, FAILED, ConfigOption, failed, load_config

key_app = typer.Typer(no_args_is_help=True, help="The key that signs for this home.")
FileArgument = Annotated[Path, typer.Argument(help="A key file.")]
PasswordFileOption = Annotated[Path | None, typer.Option(help="Take the password from this file (0600).")]


def _password(file: Path | None, confirm: bool = False) -> str:
    from edge_agent.shell.key_store import private_text

    if file is not None:
        return private_text(file).rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))


@key_app.command("new")
def key_new(
    file: Annotated[Path, typer.Argument(help="Where the key is to lie; never overwritten.")],
    keystore: Annotated[Path | None, typer.Option(help="Take the key from this v3 keystore instead.")] = None,
    encrypted: Annotated[bool, typer.Option(help="Store it as a v3 keystore under a password.")] = False,
    password_file: PasswordFileOption = None,
) -> None:
    """Make a key, 0600, and print its address."""
    from edge_agent.shell import key_store

    try:
        if keystore is None:
            key = key_store.new_key()
        else:
            key = key_store.import_keystore(keystore, _password(password_file))
        if encrypted:
            key_store.write_private(file, key_store.export_keystore(key, _password(password_file, confirm=True)) + "\n")
        else:
            key_store.write_key(file, key)
    except key_store.KeyFileError as error:
        raise failed(str(error), FAILED) from error
    typer.echo(key_store.address_text(key))


@key_app.command("address")
def key_address(file: FileArgument, password_file: PasswordFileOption = None) -> None:
    """Print the address the operator registers."""
    from edge_agent.shell.key_store import KeyFileError, address_text, is_encrypted, read_key

    try:
        password = _password(password_file) if is_encrypted(file) else None
        typer.echo(address_text(read_key(file, password)))
    except KeyFileError as error:
        raise failed(str(error), CONFIGURATION) from error


@key_app.command("export")
def key_export(file: FileArgument, password_file: PasswordFileOption = None) -> None:
    """Print the key as an encrypted v3 keystore."""
    from edge_agent.shell.key_store import KeyFileError, export_keystore, read_key

    try:
        key = read_key(file)
        typer.echo(export_keystore(key, _password(password_file, confirm=True)))
    except KeyFileError as error:
        raise failed(str(error), FAILED) from error


@key_app.command("rotate")
def key_rotate(
    at: Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d"], help="UTC: when the new key counts.")],
    config: ConfigOption = DEFAULT_CONFIG,
    next_file: Annotated[Path | None, typer.Option(help="Where the new key is to lie; default: beside.")] = None,
) -> None:
    """Make the next key beside the present one, and say what operator and installer do until it counts."""
    from edge_agent.shell.key_store import KeyFileError, address_text, key_path, new_key, write_key
    from edge_agent.shell.origin import attestation_path

    loaded, instant = load_config(config), at.replace(tzinfo=UTC)
    if instant <= datetime.now(UTC):
        raise failed("--at lies in the past", CONFIGURATION)
    try:
        present = key_path(loaded) if next_file is None else next_file
        target = present.with_name(present.name + ".next") if next_file is None else next_file
        key = new_key()
        write_key(target, key)
    except KeyFileError as error:
        raise failed(str(error), FAILED) from error
    home = loaded.home
    typer.echo(f"""\
{address_text(key)}
On the chain an account has one key for good, so the new key gets a new account:
1. Give the address above to the operator. He opens an account for it (from another owner address), links it to the
   name {home.feeder}/{home.edge}-next or takes {home.feeder}/{home.edge} over at the instant below, and tells you its
   number. Until then account {home.account} works on.
2. Add to [key] in {config}, and start the agent again once:
     next_file = "{target}"
     next_at = {instant:%Y-%m-%dT%H:%M:%SZ}
     next_account = NUMBER
3. At that instant the agent waits until the operator has acknowledged every settlement reading of the old key (at
   most six hours), then it signs with the new key. Nothing needs to be started by hand; sequences and leases go on.
4. Withdraw what stands on account {home.account}, and keep the old key until its last interval is final.""")
    if attestation_path(loaded, int(time.time())).exists():
        typer.echo("""\
5. The element's attestation speaks for the present key and account only, and is left out from that instant on. After
   step 2 have the new key attested as well: edge-agent key attest --next""")

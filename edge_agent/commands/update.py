"""The commands `edge-agent update …` (a new version for this agent) and `edge-agent node …` (metering nodes)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.commands.start import CONFIGURATION, DEFAULT_CONFIG, FAILED, ConfigOption, failed, load_config

if TYPE_CHECKING:
    from edge_agent.shell.self_update import SelfUpdate

update_app = typer.Typer(no_args_is_help=True, help="Signed updates of this agent, in two slots; and their making.")
node_app = typer.Typer(no_args_is_help=True, help="Metering nodes of our own.")

BundleArgument = Annotated[Path, typer.Argument(help="A bundle that `update pack` made.")]
DAY_S = 86_400


def _slots(config: Path) -> SelfUpdate:
    from contracts.codes import ClockStatus
    from edge_agent.shell.clock import clock_of
    from edge_agent.shell.self_update import SelfUpdate

    loaded = load_config(config)
    if loaded.update is None:
        raise failed("[update] is missing", CONFIGURATION)
    clock = clock_of(loaded.clock)

    def now_s() -> int | None:
        status, _ = clock.check()
        return clock.now_ms() // 1000 if status == ClockStatus.SYNCHRONISED else None

    return SelfUpdate(loaded.update, now_s)


@update_app.command("check")
def update_check(bundle: BundleArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say whether this agent would take a bundle; 1 and the reason where not."""
    from edge_agent.shell.self_update import RemoteUpdateError

    try:
        manifest = _slots(config).check(bundle)
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error
    typer.echo(f"ok: version {manifest.version}, sequence {manifest.sequence}, {manifest.size} bytes")


@update_app.command("apply")
def update_apply(bundle: BundleArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Install a bundle into the spare slot and put it on trial from the next start on."""
    from edge_agent.shell.self_update import RemoteUpdateError

    try:
        manifest = _slots(config).apply(bundle)
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error
    typer.echo(f"version {manifest.version} is on trial: restart the agent, then `edge-agent update confirm`")


@update_app.command("boot")
def update_boot(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Before every start (ExecStartPre): count a trial's start and turn `current` to the slot to run."""
    from edge_agent.shell.self_update import RemoteUpdateError

    try:
        typer.echo(_slots(config).boot())
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error


@update_app.command("confirm")
def update_confirm(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Keep the version on trial once it is well; roll it back, and exit with 1, where it is not."""
    from edge_agent.shell.self_update import NothingOnTrialError, RemoteUpdateError, RolledBackError, end_process

    try:
        typer.echo(f"slot {_slots(config).confirm(config)} is confirmed")
    except NothingOnTrialError:
        typer.echo("nothing is on trial")
    except RolledBackError as error:
        # Set by systemd for ExecStartPost: the sick version itself, which Restart=always then replaces by the old one.
        if main_pid := os.environ.get("MAINPID", ""):
            end_process(int(main_pid))
        raise failed(str(error), FAILED) from error
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error


@update_app.command("rollback")
def update_rollback(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End a trial at once; restart the agent afterwards."""
    from edge_agent.shell.self_update import RemoteUpdateError

    try:
        typer.echo(f"slot {_slots(config).rollback()} runs from the next start on")
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error


@update_app.command("status")
def update_status(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Where an update stands, and what both slots hold."""
    from edge_agent.shell.self_update import RemoteUpdateError

    try:
        for line in _slots(config).status():
            typer.echo(line)
    except RemoteUpdateError as error:
        raise failed(str(error), FAILED) from error


def _key(path: Path) -> bytes:
    from edge_agent.shell.key_store import KeyFileError, read_key

    try:
        return read_key(path)
    except KeyFileError as error:
        raise failed(str(error), FAILED) from error


@update_app.command("pack")
def update_pack(
    files: Annotated[list[Path], typer.Argument(help="Wheels or a folder of them, one zipapp, or one firmware.")],
    vendor: Annotated[str, typer.Option(help="Domain name of the vendor.")],
    device_class: Annotated[str, typer.Option("--class", help="Model the update is for.")],
    sequence: Annotated[int, typer.Option(min=1, help="Higher than every one before.")],
    version: Annotated[str, typer.Option(help="For people, at most 16 characters.")],
    key: Annotated[list[Path], typer.Option(help="Key file of a signer; may be given several times.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How long it may be installed.")] = 180,
    from_sequence: Annotated[int, typer.Option(min=0, help="Lowest installed sequence it may follow.")] = 0,
) -> None:
    """Make and sign a bundle (the maker's side)."""
    from hashlib import sha256

    from edge_agent.shell.bundle_files import LocalBundleError, pack_image
    from edge_agent.shell.clock import SystemClock
    from firmware_bridge.manifest import (
        LocalManifestError,
        Manifest,
        class_id_of,
        pack_bundle,
        sign_manifest,
        vendor_id_of,
    )
    from firmware_bridge.node_signature import node_signer_of, public_key_of

    keys = [_key(path) for path in key]
    try:
        payload, image = pack_image(files)
        vendor_id = vendor_id_of(vendor)
        manifest = Manifest(
            vendor_id,
            class_id_of(vendor_id, device_class),
            sequence,
            SystemClock().now_ms() // 1000 + days * DAY_S,
            len(image),
            sha256(image).digest(),
            version,
            payload,
            from_sequence,
        )
        envelope = sign_manifest(manifest, {public_key_of(one): node_signer_of(one) for one in keys})
        out.write_bytes(pack_bundle(envelope, image))
    except (LocalBundleError, LocalManifestError, OSError) as error:
        raise failed(str(error), FAILED) from error
    typer.echo(f"{out}: {payload.name.lower()}, {len(image)} bytes, sequence {sequence}, {len(keys)} signature(s)")


@update_app.command("sign")
def update_sign(
    bundle: BundleArgument, key: Annotated[Path, typer.Option(help="Key file of one signer more.")]
) -> None:
    """Add a signature to a bundle that another signer has packed."""
    from firmware_bridge.manifest import LocalManifestError, countersign, pack_bundle, split_bundle
    from firmware_bridge.node_signature import node_signer_of, public_key_of

    own = _key(key)
    try:
        envelope, image = split_bundle(bundle.read_bytes())
        bundle.write_bytes(pack_bundle(countersign(envelope, public_key_of(own), node_signer_of(own)), image))
    except (LocalManifestError, OSError) as error:
        raise failed(str(error), FAILED) from error
    typer.echo(f"{bundle}: signed")


@update_app.command("signer")
def update_signer(key: Annotated[Path, typer.Argument(help="Key file of a signer.")]) -> None:
    """Print the public key that goes into `signers`."""
    from firmware_bridge.node_signature import compressed, public_key_of

    typer.echo(compressed(public_key_of(_key(key))).hex())


@node_app.command("key")
def node_key(
    file: Annotated[Path, typer.Argument(help="Our key for the link to nodes; made if it is not there.")],
) -> None:
    """Print the gateway's public key, which is flashed into a node at commissioning (128 hexadecimal digits)."""
    from edge_agent.shell.key_store import KeyFileError, new_key, write_key
    from firmware_bridge.node_signature import public_key_of

    if not file.exists():
        try:
            write_key(file, new_key())
        except KeyFileError as error:
            raise failed(str(error), FAILED) from error
    typer.echo(public_key_of(_key(file)).hex())

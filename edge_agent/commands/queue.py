"""The commands `edge-agent queue …`: what the operator has not acknowledged yet."""

from __future__ import annotations

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

queue_app = typer.Typer(no_args_is_help=True, help="What the operator has not acknowledged yet.")


@queue_app.command("stat")
def queue_stat(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """How many frames wait, by kind, and their size."""
    from edge_agent.delivery.store_file import RemoteStoreError
    from edge_agent.shell.queue_check import queue_rows

    try:
        for kind, count, size in queue_rows(load_config(config).store):
            typer.echo(f"{kind}: {count} frame(s), {size} bytes")
    except RemoteStoreError as error:
        raise failed(str(error), UNAVAILABLE) from error


@queue_app.command("export")
def queue_export(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print every waiting message as a line of JSON with its signature."""
    from edge_agent.delivery.store_file import RemoteStoreError
    from edge_agent.shell.queue_check import queue_lines

    try:
        for line in queue_lines(load_config(config).store):
            typer.echo(line)
    except RemoteStoreError as error:
        raise failed(str(error), UNAVAILABLE) from error


@queue_app.command("verify")
def queue_verify(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check signature, row, columns, sequences and chain of every waiting frame; 1 where something is wrong."""
    from edge_agent.delivery.store_file import RemoteStoreError
    from edge_agent.shell.key_store import KeyFileError
    from edge_agent.shell.queue_check import verify_queue

    try:
        streams, faults = verify_queue(load_config(config))
    except KeyFileError as error:
        raise failed(str(error), CONFIGURATION) from error
    except RemoteStoreError as error:
        raise failed(str(error), UNAVAILABLE) from error
    for line in streams:
        typer.echo(line)
    for line in faults:
        typer.echo(line, err=True)
    if faults:
        raise typer.Exit(FAILED)
    typer.echo("ok")

"""``simulate meter``, ``simulate home`` and ``simulate fleet``: devices on real sockets, until interrupted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
_FAULTS = ("cut", "garbage", "wrong_checksum", "duplicate", "silent")
_FAULTS_OF_BOTH = f"{', '.join(_FAULTS)}; on a serial Modbus line every fifth answer late, short, crc and others"

HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
SpeedOption = Annotated[float, typer.Option(min=0.1, max=5000, help="Virtual seconds a second.")]
SeedOption = Annotated[int, typer.Option(help="Which homes stand behind the devices.")]
ConfigOut = Annotated[
    Path | None, typer.Option("--config-out", help="Write the agent's configuration for it here; '-' prints it.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the console script."""
    app.command()(meter)
    app.command()(home)
    app.command()(fleet)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _serve(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        _say(f"cannot open it: {error}")
        raise typer.Exit(EXIT_FAILED) from error


def _write_configurations(files: list[str], out: Path | None) -> None:
    """The first under the name itself, further ones with a number."""
    for number, text in enumerate(files, 1):
        if str(out) == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        elif out is not None:
            path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
            path.write_text(text, encoding="utf-8")
            _say(f"configuration: {path}")


def meter(
    profile: Annotated[str, typer.Argument(help="Name of a device profile, such as eastron_sdm630.")] = "",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 takes a free one.")] = 5020,
    host: HostOption = "127.0.0.1",
    speed: SpeedOption = 1,
    seed: SeedOption = 1,
    telegram: Annotated[
        str, typer.Option(help="Send telegrams instead: p1, sml, iec62056, mbus, tasmota, shelly, shelly1 or json.")
    ] = "",
    serial: Annotated[Path | None, typer.Option(help="A pseudo-terminal with this name instead of a port.")] = None,
    broker: Annotated[str, typer.Option(help="Where messages go.")] = "mqtt://127.0.0.1:1883",
    name: Annotated[str, typer.Option(help="The device's name in its topics.")] = "simulated",
    period: Annotated[float, typer.Option(min=0.05, max=900, help="Seconds between two telegrams.")] = 1.0,
    asked: Annotated[bool, typer.Option("--asked", help="iec62056: mode C, speaks only when asked.")] = False,
    fault: Annotated[list[str] | None, typer.Option(help=f"Send with this fault: {_FAULTS_OF_BOTH}.")] = None,
) -> None:
    """One simulated device, until interrupted: behind Modbus TCP, or sending telegrams over TCP, a pty or MQTT."""
    from device_profiles.profile import list_profiles
    from simulators.live.single_meter import TelegramLine, serve_meter, serve_telegrams
    from simulators.telegrams import MESSAGES, STREAMS

    if telegram:
        address = urlsplit(broker)
        if telegram not in STREAMS and telegram not in MESSAGES:
            raise typer.BadParameter(f"no telegram is called {telegram!r}; known: {', '.join((*STREAMS, *MESSAGES))}")
        if unknown := [one for one in fault or [] if one not in _FAULTS]:
            raise typer.BadParameter(f"no fault is called {unknown[0]!r}; known: {', '.join(_FAULTS)}")
        if telegram in MESSAGES and (address.scheme != "mqtt" or not address.hostname):
            raise typer.BadParameter(f"{broker!r} is not mqtt://host:port")
        line = TelegramLine(host, port, serial, (address.hostname or "", address.port or 1883), name, period)
        _serve(serve_telegrams(telegram, line, asked, tuple(fault or ()), speed, seed, _say))
        return
    if profile not in list_profiles():
        raise typer.BadParameter(f"no profile is called {profile!r}; known: {', '.join(list_profiles())}")
    if serial is not None:
        from simulators.live.serial_bus import FAULTS
        from simulators.live.serial_meter import serve_rtu_meter

        if unknown := [one for one in fault or [] if one not in FAULTS]:
            raise typer.BadParameter(f"no fault of a line is called {unknown[0]!r}; known: {', '.join(FAULTS)}")
        _serve(serve_rtu_meter(profile, serial, tuple(fault or ()), speed, seed, _say))
        return
    _serve(serve_meter(profile, host, port, speed, seed, _say))


def home(
    port: Annotated[int, typer.Option(min=0, max=65_533, help="The meter's port, the others follow; 0: free.")] = 5020,
    host: HostOption = "127.0.0.1",
    speed: SpeedOption = 1,
    seed: SeedOption = 1,
    config_out: ConfigOut = None,
) -> None:
    """One home with meter, inverter and battery behind Modbus TCP, until interrupted."""
    from simulators.live.fleet import SimulatedHome, lines_of, say_all

    async def serve() -> None:
        simulated = SimulatedHome(host, port, seed, speed)
        await simulated.start()
        try:
            _write_configurations([simulated.configuration()], config_out)
            say_all(lines_of(simulated.devices(), host), _say)
            await asyncio.Event().wait()
        finally:
            await simulated.stop()

    _serve(serve())


def fleet(
    count: Annotated[int, typer.Argument(min=1, max=1_000, help="How many meters.")] = 10,
    profile: Annotated[str, typer.Option(help="Their profile.")] = "eastron_sdm630",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The first port; 0: free ones.")] = 5020,
    one_port: Annotated[bool, typer.Option("--one-port", help="All as units behind one port, at most 247.")] = False,
    rows: Annotated[Path | None, typer.Option("--from", help="A TOML of [[device]] tables instead.")] = None,
    host: HostOption = "127.0.0.1",
    speed: SpeedOption = 1,
    seed: SeedOption = 1,
    config_out: ConfigOut = None,
) -> None:
    """Many Modbus meters of different homes, until interrupted."""
    from simulators.live.fleet import Fleet, FleetRow, LocalFleetError, lines_of, rows_from_toml, say_all

    try:
        wanted = [FleetRow(profile, count, port, one_port)] if rows is None else rows_from_toml(rows)
        simulated = Fleet(wanted, host, seed, speed)
    except LocalFleetError as error:
        raise typer.BadParameter(str(error)) from error

    async def serve() -> None:
        try:
            await simulated.start()
            _write_configurations(simulated.configurations(host), config_out)
            say_all(lines_of(simulated.devices(), host), _say)
            await asyncio.Event().wait()
        finally:
            await simulated.stop()

    _serve(serve())

"""`edge-agent profile list|check|plan|test`: device profiles, held against themselves and against real devices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.commands.start import FAILED, UNAVAILABLE, failed

if TYPE_CHECKING:
    from device_profiles.profile import Profile
    from device_profiles.profile_parts import Point
    from edge_agent.shell.device_reading import Reading

profile_app = typer.Typer(no_args_is_help=True, help="Device profiles.")

NameArgument = Annotated[str, typer.Argument(help="Name or path of a profile.")]
BaudOption = Annotated[
    int | None, typer.Option(min=300, max=1_000_000, help="Speed of the serial line; default: the profile's.")
]


class Wire(Enum):
    """What a device hangs on."""

    TCP = "tcp"
    RTU = "rtu"
    RTU_OVER_TCP = "rtu-over-tcp"


def _profile(name: str) -> Profile:
    from device_profiles.profile import ProfileError, load_profile

    try:
        return load_profile(name)
    except ProfileError as error:
        raise failed("\n".join(error.errors), FAILED) from error


@profile_app.command("list")
def profile_list(
    long: Annotated[bool, typer.Option("--long", "-l", help="With kind, vendor and model.")] = False,
) -> None:
    """Names of the shipped profiles."""
    from device_profiles.profile import list_profiles

    for name in list_profiles():
        profile = _profile(name) if long else None
        typer.echo(name if profile is None else f"{name:<28} {profile.kind:<9} {profile.vendor} {profile.model}")


@profile_app.command("check")
def profile_check(profiles: Annotated[list[str], typer.Argument(help="Names or paths of profiles.")]) -> None:
    """Read profiles and hold them against their own examples."""
    from device_profiles.example import example_errors
    from device_profiles.profile import ProfileError, load_profile
    from device_profiles.profile_parts import RegisterImage
    from device_profiles.sunspec import RemoteSunSpecError, resolve, walk_image

    bad = 0
    for name in profiles:
        try:
            profile = load_profile(name)
            if profile.sunspec is not None and not profile.resolved:
                image = RegisterImage(profile.example.registers)
                profile = resolve(profile, walk_image(image, profile.sunspec.bases))
            errors = example_errors(profile)
        except ProfileError as error:
            errors = error.errors
        except (RemoteSunSpecError, ValueError) as error:
            errors = (str(error),)
        bad += bool(errors)
        for text in errors:
            typer.echo(f"{name}: {text}", err=True)
        if not errors:
            typer.echo(f"{name}: ok")
    if bad:
        raise typer.Exit(FAILED)


@profile_app.command("plan")
def profile_plan(
    name: NameArgument,
    link: Annotated[Wire, typer.Option(help="How the device is reached.")] = Wire.RTU,
    baud: BaudOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All points, not only what the agent polls.")] = False,
) -> None:
    """Print the block reads the agent makes and the bus time they take."""
    from device_profiles.read_plan import LocalPlanError, plan, request_us
    from device_profiles.sunspec import layout, resolve
    from edge_agent.shell.modbus import USED

    profile = _profile(name)
    if profile.sunspec is not None and not profile.resolved:
        profile = resolve(profile, layout(profile))
    bus = profile.bus if baud is None else replace(profile.bus, baud=baud)
    points = [p for p in profile.points if everything or p.measurement in USED]
    if not points:
        raise failed(f"{name} has nothing the agent polls", FAILED)
    try:
        reads = plan(points, bus, link.value)
    except LocalPlanError as error:
        raise failed(str(error), FAILED) from error
    for request in reads.requests:
        cost_ms = -(-request_us(request.count, bus, link.value) // 1000)
        typer.echo(f"function {request.function}: {request.count} registers from {request.address}, {cost_ms} ms")
    single_ms = -(-sum(request_us(p.count, bus, link.value) for p in points) // 1000)
    typer.echo(f"{len(reads.requests)} request(s), {reads.bus_ms} ms of bus time; value by value {single_ms} ms")


@profile_app.command("test")
def profile_test(
    name: NameArgument,
    host: Annotated[str | None, typer.Option(help="Host name or address of the device or gateway.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; default: the profile's.")] = None,
    rtu: Annotated[
        bool, typer.Option("--rtu-over-tcp", help="The host is a serial gateway without Modbus TCP.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Serial device, such as /dev/ttyUSB0.")] = None,
    baud: BaudOption = None,
    parity: Annotated[str | None, typer.Option(help="N, E or O; default: the profile's.")] = None,
    unit: Annotated[int | None, typer.Option(help="Modbus unit; default: the profile's.")] = None,
    models: Annotated[bool, typer.Option(help="SunSpec: print every value of every model.")] = False,
    capture: Annotated[Path | None, typer.Option(help="Write what was read as a profile's [example] here.")] = None,
) -> None:
    """Read a live device once and print what the profile makes of its words. Writes nothing to the device."""
    from device_profiles.codec import LocalCodecError, probe_matches
    from device_profiles.read_plan import LocalPlanError
    from device_profiles.sunspec import RemoteSunSpecError
    from edge_agent.shell.bus import RemoteBusError

    profile = _profile(name)
    if (host is None) == (device is None):
        raise typer.BadParameter("either --host or --device")
    if capture is not None and capture.exists():
        raise failed(f"{capture} exists already", FAILED)
    link = Wire.RTU if device is not None else Wire.RTU_OVER_TCP if rtu else Wire.TCP
    bus = replace(profile.bus, baud=baud or profile.bus.baud, parity=parity or profile.bus.parity)
    if bus.parity not in ("N", "E", "O"):
        raise typer.BadParameter("parity is N, E or O")
    number = profile.bus.unit if unit is None else unit
    try:
        reading = asyncio.run(_read(replace(profile, bus=bus), link, host or device or "", port or bus.port, number))
        _print_values(reading)
        _print_writes(reading)
        fits = probe_matches(reading.profile, reading.registers)
    except (RemoteBusError, RemoteSunSpecError, OSError) as error:
        raise failed(str(error), UNAVAILABLE) from error
    except (LocalCodecError, LocalPlanError, ValueError) as error:
        raise failed(str(error), FAILED) from error
    if models:
        _print_models(reading)
    for function, address, count in reading.refused:
        typer.echo(f"refused: function {function}, {count} register(s) from {address}", err=True)
    typer.echo(f"probe {'fits' if fits else 'does NOT fit'}; {reading.requests} request(s)")
    if capture is not None:
        _write_capture(capture, reading)
    if not fits:
        raise typer.Exit(FAILED)


async def _read(profile: Profile, link: Wire, place: str, port: int, unit: int) -> Reading:
    from edge_agent.shell.bus import TIMEOUT_LIMIT_S, ModbusBus
    from edge_agent.shell.byte_line import SerialSettings
    from edge_agent.shell.device_reading import read_device

    line = SerialSettings(profile.bus.baud, 8, profile.bus.parity, profile.bus.stop_bits)
    bus = ModbusBus(place, port, link.value, TIMEOUT_LIMIT_S, line)
    try:
        return await read_device(bus, profile, unit, link.value)
    finally:
        bus.close()


def _words(reading: Reading, point: Point) -> str:
    """The raw words of a point, with its further terms and its scale factor."""
    found = []
    for function, address, count in point.spans:
        words = [reading.registers.get((function, address + i)) for i in range(count)]
        told = " ".join("----" if word is None else f"{word:04X}" for word in words)
        found.append(f"{address}: {told}")
    return ", ".join(found)


def _print_values(reading: Reading) -> None:
    from device_profiles.codec import decode, decode_texts
    from device_profiles.measurement import measurement

    profile = reading.profile
    for name, text in decode_texts(profile, reading.registers).items():
        typer.echo(f"{name:<22} {text}")
    values = decode(profile, reading.registers)
    for point in profile.points:
        known = measurement(point.measurement)
        value = values.get(point.measurement)
        said = "absent" if value is None else f"{value}"
        doubt = "" if value is None or known.minimum <= value <= known.maximum else "   implausible"
        typer.echo(f"{point.measurement:<22} {said:>14}   [{_words(reading, point)}]{doubt}")


def _print_writes(reading: Reading) -> None:
    from device_profiles.write_codec import decode_write, watchdog_seconds, write_active

    for write in reading.profile.writes:
        held = decode_write(reading.profile, write.name, reading.registers)
        on = write_active(reading.profile, write.name, reading.registers)
        state = "cannot be read" if held is None else f"holds {held}" + ("" if on else ", not in force")
        seconds = watchdog_seconds(reading.profile, write.name, reading.registers)
        dog = "" if seconds is None else f", watchdog {seconds} s"
        typer.echo(f"{write.name:<22} {state} ({write.minimum} to {write.maximum}, {write.storage}{dog})")


def _print_models(reading: Reading) -> None:
    from device_profiles.sunspec_model import load_model, model_ids
    from device_profiles.sunspec_values import model_values

    for model in reading.models:
        if model.id not in model_ids():
            typer.echo(f"model {model.id} at {model.address}, {model.length} registers: unknown here")
            continue
        typer.echo(f"model {model.id} at {model.address}: {load_model(model.id).title}")
        words = [reading.registers.get((3, model.address + i), 0) for i in range(2 + model.length)]
        for name, value in model_values(model.id, words):
            typer.echo(f"  {name} = {value}")


def _write_capture(capture: Path, reading: Reading) -> None:
    from device_profiles.capture import example_text

    head = f"# Captured from a device with the profile {reading.profile.name}. A serial number may be in it.\n\n"
    try:
        capture.write_text(head + example_text(reading.profile, reading.registers), encoding="utf-8")
    except OSError as error:
        raise failed(str(error), FAILED) from error
    typer.echo(f"captured into {capture}")

"""``simulate``: the world without hardware, for testers. Heavy imports stay inside the commands."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators.live.device_commands import register as register_devices

app = typer.Typer(
    help="Simulated meters, homes and streets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
MARKER = ".energy-grid-street"
"""A folder that holds this file was written by a street and may be written again."""


@app.callback()
def _commands() -> None:
    """Simulated meters, homes and streets."""


@app.command()
def street(
    homes: Annotated[int, typer.Option(min=1, max=200, help="How many homes.")] = 12,
    seed: Annotated[int, typer.Option(help="The same seed gives the same street.")] = 1,
    speed: Annotated[
        float, typer.Option(min=1, max=5000, help="Virtual seconds a second; 720 plays a day in two minutes.")
    ] = 720,
    intervals: Annotated[int, typer.Option(min=1, max=96, help="Quarter-hours of the day to play.")] = 96,
    day: Annotated[
        str, typer.Option(help="Date whose load profile and station weather are played, YYYY-MM-DD.")
    ] = "2026-06-17",
    csv: Annotated[
        Path | None, typer.Option(help="Your own day instead: see simulators/README.md for the columns.")
    ] = None,
    processes: Annotated[bool, typer.Option(help="One process a home instead of one task a home.")] = False,
    broker: Annotated[
        str | None, typer.Option(help="An external broker, mqtt://host:port; default: the embedded one.")
    ] = None,
    http: Annotated[
        str, typer.Option(help="host:port of the REST interface and live page, or 'none'.")
    ] = "127.0.0.1:8080",
    out: Annotated[
        Path, typer.Option(help="Folder for store, records, logs and report; replaced if a street wrote it.")
    ] = Path("demo-output"),
) -> None:
    """A street of homes trades a day on real parts, and every auditor recomputes it."""
    import asyncio

    from simulators.live.street_day import run_street
    from simulators.street_report import render

    settings = _settings(homes, seed, speed, intervals, day, csv, processes, broker, http, out)
    progress = _Progress()
    try:
        report = asyncio.run(run_street(settings, progress))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        progress.close()
    sys.stdout.write(render(report))
    sys.stderr.write(f"report: {out / 'report.html'}, {out / 'report.png'}, {out / 'report.txt'}\n")
    if not report.agreed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def world(
    seed: Annotated[int, typer.Option(min=0, help="The seed; the same seed gives the same run to the byte.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run, from SEED on.")] = 1,
    scenario: Annotated[str | None, typer.Option(help="A scenario by name; 'list' shows all.")] = None,
    journal: Annotated[bool, typer.Option(help="Print alarms, crashes and refused posts with their time.")] = False,
) -> None:
    """The whole system in one thread under a seed, with faults, audited."""
    from simulators.world_command import world as run

    run(seed, seeds, scenario, journal)


register_devices(app)


def _settings(
    homes: int, seed: int, speed: float, intervals: int, day: str, csv: Path | None, processes: bool,
    broker: str | None, http: str, out: Path,
) -> Any:  # fmt: skip
    from simulators.live.street import StreetSettings
    from simulators.live.street_day import DAYS_OF_INPUT

    return StreetSettings(
        _fresh(out),
        _day_input(day, csv, DAYS_OF_INPUT),
        homes,
        seed,
        speed,
        processes,
        broker,
        _address(http),
        intervals,
    )


def _day_input(day: str, csv: Path | None, days: int) -> Any:
    from simulators.user_csv import LocalCsvError, csv_day
    from simulators.weather import measured_day

    try:
        first = datetime.date.fromisoformat(day) - datetime.timedelta(days=1)
        return measured_day(first, days) if csv is None else csv_day(csv, first)
    except (ValueError, LocalCsvError, OSError) as error:
        raise typer.BadParameter(str(error)) from error


def _address(text: str) -> tuple[str, int] | None:
    if text == "none":
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise typer.BadParameter(f"{text!r} is not host:port")
    return host, int(port)


def _fresh(out: Path) -> Path:
    """An empty folder at ``out``; one that a street wrote before is emptied, any other is left alone."""
    import shutil

    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise typer.BadParameter(f"{out} holds other files; name an empty or new folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
    return out


class _Progress:
    """A line on stderr that moves on a terminal, and one line every tenth elsewhere."""

    def __init__(self) -> None:
        self._moves = sys.stderr.isatty()
        self._said = -1
        self._text = ""

    def __call__(self, share: float, text: str) -> None:
        if self._moves:
            done = int(30 * share)
            sys.stderr.write(f"\r\x1b[K[{'█' * done}{'·' * (30 - done)}] {100 * share:3.0f}%  {text}")
            sys.stderr.flush()
        elif int(share * 10) > self._said or (share in (0.0, 1.0) and text != self._text):
            self._said, self._text = int(share * 10), text
            sys.stderr.write(f"{100 * share:3.0f}%  {text}\n")
            sys.stderr.flush()

    def close(self) -> None:
        if self._moves:
            sys.stderr.write("\n")


def main() -> None:
    """Entry of the console script ``simulate``."""
    app()


if __name__ == "__main__":
    main()

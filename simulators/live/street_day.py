"""The street from settings to verdict: play, gather, judge, report, write the files."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from contracts.interval import INTERVAL_S
from contracts.signature import signer_of
from simulators.home import Home
from simulators.live.scratch import MEMORY
from simulators.live.street import Progress, StreetRun, StreetSettings, play, secret
from simulators.live.street_evidence import (
    coordinator_bills,
    gather,
    physical_truth,
    register_steps_wh,
    replay_verdict,
)
from simulators.live.street_picture import write_page, write_picture
from simulators.street_judge import (
    AccountBill,
    Recomputed,
    chain_verdict,
    energy_verdict,
    liveness_verdict,
    money_verdict,
    recompute,
    record_verdict,
)
from simulators.street_report import DayReport, HomeResult, render

LIFELIKE_SPEED = 60.0
"""Up to this speed a disk keeps up with the fsyncs of a dozen homes; beyond it the stores live in memory meanwhile."""


@contextmanager
def working_folder(settings: StreetSettings) -> Iterator[Path]:
    """Where the street keeps its files while it runs; they are in the output folder afterwards.

    Every signed reading and every lease is an fsync of 4 to 12 ms. A real home has a quarter of an hour for a few of
    them; at 720 times a street would wait for its one disk most of the day. So an accelerated day runs on a
    memory-backed file system where there is one.
    """
    if settings.speed <= LIFELIKE_SPEED or not MEMORY.is_dir():
        yield settings.out
        return
    folder = Path(tempfile.mkdtemp(prefix="street-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.copytree(folder, settings.out, dirs_exist_ok=True)
        shutil.rmtree(folder)


async def run_street(settings: StreetSettings, progress: Progress = lambda _, __: None) -> DayReport:
    """Plays and judges a day; leaves report.txt, .png, .html and counters.json in the output folder."""
    with working_folder(settings) as folder:
        run = await play(replace(settings, out=folder), progress)
        try:
            progress(1.0, "recomputing everything from the chain and the public record")
            report = await asyncio.to_thread(judge, run)
        finally:
            await run.close()
        counters = {"agents": run.agent_counters, "coordinator": run.counters, "alarms": run.alarms}
        (folder / "counters.json").write_text(json.dumps(counters, indent=1, sort_keys=True), encoding="utf-8")
        await asyncio.to_thread(_write, report, folder)
    return report


def judge(run: StreetRun) -> DayReport:
    """The verdicts and everything that is shown."""
    first, last = run.first_interval, run.last_interval
    evidence = gather(run)
    found = recompute(evidence, first, last)
    verdicts = [
        record_verdict(evidence, found),
        chain_verdict(evidence, first, last),
        money_verdict(found, coordinator_bills(run.store_path, first, last)),
        energy_verdict(found, physical_truth(run, found), register_steps_wh(run)),
        liveness_verdict(found, run.accounts, first, last),
        replay_verdict(run, signer_of(secret(run.settings.seed, "operator"))),
    ]
    refusals = {
        name.removeprefix("refused_"): count for name, count in run.counters.items() if name.startswith("refused_")
    }
    return DayReport(
        time.strftime("%Y-%m-%d", time.gmtime(first * INTERVAL_S)),
        [_home_result(run, place, found) for place in range(len(run.plans))],
        [found.spot_prices.get(interval) for interval in range(first, last + 1)],
        [_mean_price(found, interval) for interval in range(first, last + 1)],
        run.market.tariff_import,
        run.market.tariff_export,
        evidence.headers,
        verdicts,
        run.wall_s,
        refusals,
    )


def _mean_price(found: Recomputed, interval: int) -> int | None:
    """Mean by volume of the forward auctions for products that begin in ``interval``."""
    trades = found.forward_prices.get(interval, [])
    volume = sum(wh for _, wh in trades)
    return sum(price * wh for price, wh in trades) // volume if volume else None


def _home_result(run: StreetRun, place: int, found: Recomputed) -> HomeResult:
    plan = run.plans[place]
    twin = Home(plan, run.settings.day)
    twin.advance(run.first_interval * INTERVAL_S)
    load_ws, production_ws = twin.load_ws, twin.production_ws
    twin.advance((run.last_interval + 1) * INTERVAL_S)
    devices = ", ".join(profile for profile in (plan.meter, plan.inverter, plan.battery) if profile)
    return HomeResult(
        plan.name,
        devices,
        (twin.load_ws - load_ws) // 3600,
        (twin.production_ws - production_ws) // 3600,
        found.bills.get(run.accounts[place], AccountBill()),
    )


def _write(report: DayReport, out: Path) -> None:
    (out / "report.txt").write_text(render(report), encoding="utf-8")
    write_picture(report, out / "report.png")
    write_page(report, out / "report.png", out / "report.html")


DAYS_OF_INPUT = 3
"""The day before (its past teaches the forecasts, its evening is the lead), the day, and the tail after midnight."""

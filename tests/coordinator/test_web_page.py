"""The plain live page in a real browser: it fills, follows, says when the connection is lost, and comes back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from contracts.codes import Side
from contracts.interval import INTERVAL_S, interval_of
from contracts.telemetry import CHAIN_START, TelemetryReading, batch_of, pack_columns
from tests.coordinator.running import Running, bid_of, body_of, reading_of, running
from tests.coordinator.street import START_S

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
NOW = interval_of(START_S)


@asynccontextmanager
async def served(street: Running, port: int = 0) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(street.app, port=port, log_level="warning"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


async def live_through(street: Running, intervals: int) -> None:
    """Homes report power each quarter-hour, two of them trade once."""
    for order in (bid_of(1, Side.BUY, 500, 200_000), bid_of(2, Side.SELL, 400, 100_000)):
        await street.http.post("/api/v1/orders", json=body_of(order, order.account))
    for passed in range(intervals):
        await street.move_to(START_S + (passed + 1) * INTERVAL_S + 10)
        for account in (1, 2, 3):
            reading = reading_of(account, NOW + passed, 300 * passed, 90 * account * passed)
            await street.http.post("/api/v1/meters/reading", json=body_of(reading, account))
            power_w = (400, -1_800, 2_500)[account - 1] + 150 * (passed % 7)
            at_s = street.clock.now_s - 1
            row = TelemetryReading(passed, at_s, 0, 5, 5, power_w, None, 229_000 + 700 * account, 49_990)
            batch = batch_of(account, 0, 1, CHAIN_START, [row])
            body = body_of(batch, account) | {"attachment": "0x" + pack_columns([row]).hex()}
            assert (await street.http.post("/api/v1/meters/reading", json=body)).status_code == 201


@asynccontextmanager
async def browser(**how: Any) -> AsyncIterator[Any]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await chromium.new_page(**how)
        yield page
        await chromium.close()


@pytest.mark.slow
@pytest.mark.real("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_fills_follows_and_finds_the_coordinator_again_after_a_loss(tmp_path: Path) -> None:
    pytest.importorskip("playwright")

    async def scenario() -> None:
        async with running(tmp_path) as street, browser(viewport={"width": 390, "height": 844}) as page:
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
            async with served(street) as port:
                await page.goto(f"http://127.0.0.1:{port}/")
                await page.wait_for_selector("#connection[data-state=live]")
                await page.wait_for_selector("#homes tr:nth-child(3)")
                assert await page.inner_text("#demand") == "–"
                await live_through(street, 8)
                await page.wait_for_selector("#auctions td:has-text('400 Wh')")
                await page.wait_for_selector("#price-curve path")
                assert await page.inner_text("#price") != "–"
                assert "kW" in await page.inner_text("#demand")
                await page.wait_for_selector("#headers tr:nth-child(8)")
                wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
                assert await page.evaluate(wide) is False
                for table in ("homes", "auctions", "headers"):
                    assert "NaN" not in await page.inner_text(f"#{table}")
                street.runtime.alarms.report("test_alarm", "<b>bold</b> is text here")
                await page.wait_for_selector("#alarms li:has-text('<b>bold</b>')")
            await page.wait_for_selector("#connection[data-state=lost]")
            assert "connection lost" in await page.inner_text("#connection")
            async with served(street, port):
                await page.wait_for_selector("#connection[data-state=live]", timeout=20_000)
            assert errors == []

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.real("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_the_page_stands_out_in_both_themes(tmp_path: Path, scheme: str) -> None:
    pytest.importorskip("playwright")
    contrasts = """() => {
      const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = (c) => { const [r, g, b] = rgb(c).map((v) => { v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = (n) => { for (; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor;
        if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
      return [...document.querySelectorAll("h1,h2,p,dt,dd,th,td,li,a,figcaption,small,.mark")].map((n) => {
        const [a, b] = [light(getComputedStyle(n).color), light(ground(n))].sort((x, y) => y - x);
        return [n.className || n.tagName, (a + 0.05) / (b + 0.05)]; }); }"""

    async def scenario() -> None:
        shown = browser(viewport={"width": 390, "height": 844}, color_scheme=scheme)
        async with running(tmp_path) as street, served(street) as port, shown as page:
            await page.goto(f"http://127.0.0.1:{port}/")
            await page.wait_for_selector("#homes tr:nth-child(3)")
            faint = [found for found in await page.evaluate(contrasts) if found[1] < 4.5]
            assert faint == []
            images = await page.evaluate(
                "[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-labelledby'))"
            )
            assert images is True

    asyncio.run(scenario())

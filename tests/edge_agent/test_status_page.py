"""The page shows how things are to whoever is in the house, and gives nothing away and takes no command."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import ClockStatus
from edge_agent.config import BrokerConfig, MeterConfig
from edge_agent.effects import Alarm, Counters
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.companions import Surroundings
from edge_agent.shell.runtime import Running
from edge_agent.shell.status_page import CLIENTS_LIMIT, Answer, StatusPage, is_of_the_house
from edge_agent.status import AgentStatus, DeviceStatus
from edge_agent.status_html import page, problems_of
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import ADA_KEY, ada_config, eventually

Runner = Callable[[Awaitable[None]], None]
NOW_MS = 1_750_000_000_000


def status(*devices: DeviceStatus, link: bool = True, clock: ClockStatus = ClockStatus.SYNCHRONISED) -> AgentStatus:
    """Ada's agent with these devices."""
    known = clock == ClockStatus.SYNCHRONISED
    return AgentStatus("f1", "ada", 7, NOW_MS, link, clock, known, 1, {"settlement": 2, "bid": 0}, devices)


MAIN = DeviceStatus(
    0, "main", "settlement", "eastron_sdm630", None,
    {"power_w": -2_412, "import_wh": 12_345_678, "export_wh": 5, "voltage_l1_mv": 230_149}, NOW_MS - 3_000, None,
)  # fmt: skip
STORE = DeviceStatus(3, "store", "battery", "sunspec_battery", "locked", {"soc_permille": 634}, None, "no <answer>")


class Reader(HTMLParser):
    """Notes what a page would fetch and what it says; complains of tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.said = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "action", "data")]
        assert tag not in ("script", "link", "form", "img", "iframe", "input", "button")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data if "style" not in self.open else ""


def test_the_page_says_what_flows_what_waits_and_what_is_wrong() -> None:
    alarms = [(NOW_MS - 300_000, Alarm("store", "disk is full <b>"))]
    devices = status(MAIN, STORE)
    said = Reader(page(devices, alarms, problems_of(devices))).said
    for text in ("All is well", "2\u202f412", "out of the home", "12\u202f345.6 kWh", "230.1 V", "3 s ago", "locked"):
        assert text in said
    for text in ("no <answer>", "63.4 %", "disk is full <b>", "5 minutes ago", "Settlement readings", "synchronised"):
        assert text in said


def test_what_is_wrong_is_said_in_words_first() -> None:
    silent = DeviceStatus(0, "main", "settlement", "x", None, {}, NOW_MS - 10**6, "silent")
    now = status(silent, link=False, clock=ClockStatus.UNKNOWN)
    assert problems_of(now) == [
        "main does not answer",
        "the clock is not synchronised: nothing is signed yet",
        "no link to the operator: readings are kept",
    ]
    text = page(now, [], problems_of(now))
    assert "All is well" not in text and text.index("Main does not answer") < text.index("<h2>")


@given(st.text(max_size=40), st.dictionaries(st.sampled_from(["power_w", "status", "x_w"]), st.integers()))
def test_no_text_from_outside_becomes_markup_and_nothing_is_fetched(text: str, values: dict[str, int]) -> None:
    hostile = DeviceStatus(0, text, text, text, text, values, NOW_MS, text + '"><script>')
    found = Reader(page(status(hostile), [(0, Alarm(text, text))], [text + "<img src=x>"] if text else []))
    assert found.fetched == []
    assert "http" not in re.sub(re.escape(text), "", page(status(MAIN), [], [])).replace("http-equiv", "")


@asynccontextmanager
async def served(answers: dict[str, Callable[[], Answer]], counters: Counters, proxy: str = "") -> AsyncIterator[int]:
    """A page on a port of its own while the block runs."""
    site = StatusPage("127.0.0.1", 0, answers, counters, proxy)
    task = asyncio.create_task(site.run())
    await eventually(lambda: site.bound_port)
    assert site.bound_port is not None
    try:
        yield site.bound_port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to raw bytes; status 0 where nothing comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if b"\r\n\r\n" not in request and len(request) < 8_000:
        writer.write_eof()
    try:
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        answer = b""
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, head, body


def get(path: str, host: str = "127.0.0.1:8099", method: str = "GET") -> bytes:
    """A request as a browser makes it."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def failing() -> Answer:
    """An answer that breaks."""
    raise RuntimeError("broken")


ANSWERS: dict[str, Callable[[], Answer]] = {"/": lambda: (200, "text/html", "hello"), "/broken": failing}


def test_only_get_of_a_known_path_by_a_name_of_the_house_is_answered(run: Runner) -> None:
    counters = Counters()

    async def story() -> None:
        async with served(ANSWERS, counters) as port:
            code, head, body = await ask(port, get("/?x=1"))
            assert (code, body) == (200, b"hello")
            assert b"Content-Security-Policy: default-src 'none'" in head and b"no-store" in head
            assert (await ask(port, get("/", method="HEAD")))[::2] == (200, b"")
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT"):
                assert (await ask(port, get("/", method=method)))[0] == 405
            assert (await ask(port, get("/../etc/passwd")))[0] == 404
            assert (await ask(port, get("/broken")))[0] == 500
            assert (await ask(port, get("/", host="evil.example.org")))[0] == 403
            assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n"))[0] == 403
            assert (await ask(port, b"\x16\x03\x01 nonsense\r\n\r\n"))[0] == 400
            assert (await ask(port, b"GET / HTTP/1.1\r\nHost: a"))[0] == 400
            assert (await ask(port, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000))[0] in (0, 431)
            assert (await ask(port, get("/")))[0] == 200

    run(story())
    assert counters["status_page_failed"] == 1 and counters["status_page_answered"] == 3


def test_names_of_the_house_are_known_from_names_of_the_world() -> None:
    good = [
        "127.0.0.1",
        "127.0.0.1:8099",
        "[::1]:8099",
        "[fe80::1]",
        "localhost:8099",
        "pi",
        "pi.local",
        "PI.fritz.box:8",
    ]
    bad = ["", "evil.com", "127.0.0.1.evil.com", "local.evil.com:80", "a b", "pi.local/x", "<x>"]
    assert [is_of_the_house(name) for name in good] == [True] * len(good)
    assert [is_of_the_house(name) for name in bad] == [False] * len(bad)


def test_clients_that_only_hang_on_cannot_keep_others_out_for_long(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.shell.status_page.PATIENCE_S", 0.4)
    counters = Counters()

    async def story() -> None:
        async with served(ANSWERS, counters) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS_LIMIT)]
            await asyncio.sleep(0.1)
            assert (await ask(port, get("/")))[0] == 0
            await asyncio.sleep(0.6)
            assert (await ask(port, get("/")))[0] == 200
            for _, writer in idle:
                writer.close()

    run(story())
    assert counters["status_page_busy"] == 1 and counters["status_page_broken"] == CLIENTS_LIMIT


def test_a_port_that_is_taken_does_not_disturb_the_agent(run: Runner) -> None:
    counters = Counters()

    async def story() -> None:
        async with served(ANSWERS, Counters()) as port:
            task = asyncio.create_task(StatusPage("127.0.0.1", port, ANSWERS, counters).run())
            await eventually(lambda: counters.get("status_page_unbound"))
            assert not task.done()
            task.cancel()

    run(story())


@pytest.mark.parametrize(("proxy", "code"), [("", 403), ("127.0.0.1", 200), ("172.30.32.2", 403)])
def test_only_the_proxy_of_the_house_may_ask_by_a_name_of_the_world(run: Runner, proxy: str, code: int) -> None:
    async def story() -> None:
        async with served(ANSWERS, Counters(), proxy) as port:
            assert (await ask(port, get("/", host="home.example.org")))[0] == code
            assert (await ask(port, get("/")))[0] == 200

    run(story())


def test_the_running_agent_shows_its_meter_metrics_and_health(run: Runner, tmp_path: Path) -> None:
    values = {"import_wh": 1_000_000, "export_wh": 500, "power_w": 2_400, "voltage_l1_mv": 230_000}

    async def story() -> None:
        meter = MeterServer("eastron_sdm630", lambda: values)
        await meter.start()
        meters = (MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", meter.port),)
        config = ada_config(tmp_path, meters, BrokerConfig("127.0.0.1", 9))
        running = Running(config, ScaledClock(time.time(), NOW_MS / 1000, 1.0), ADA_KEY)
        around, stop = Surroundings(running), asyncio.Event()
        answers = {"/": around.page, "/metrics": around.metrics, "/health": around.health, "/alive": around.alive}
        task = asyncio.create_task(running.run(stop))
        async with served(answers, running.counters) as port:
            assert (await ask(port, get("/health")))[0] == 503
            assert (await ask(port, get("/alive")))[0] == 200, "a silent meter is not cured by a new start"
            await eventually(lambda: around.status().devices[0].fault is None)
            code, _, body = await ask(port, get("/health"))
            health = json.loads(body)
            assert code == 200 and health["ok"] and not health["link"] and health["core"]
            said = Reader((await ask(port, get("/")))[2].decode()).said
            assert "1\u202f000.0 kWh" in said and "2\u202f400" in said and "no link" in said
            text = (await ask(port, get("/metrics")))[2].decode()
            assert 'edge_agent_link{edge="ada",feeder="f1"} 0' in text
            assert ADA_KEY.hex() not in text + said
        stop.set()
        await asyncio.wait_for(task, 10)
        await meter.stop()

    run(story())


@pytest.mark.slow
@pytest.mark.real("chromium")
def test_the_page_fits_a_phone_in_light_and_dark(tmp_path: Path) -> None:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    devices = status(MAIN, STORE, link=False)
    (tmp_path / "page.html").write_text(page(devices, [(0, Alarm("store", "x" * 200))], problems_of(devices)))
    contrast = """() => {
      const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b };
      const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c } return 'rgb(255, 255, 255)' };
      return [...document.querySelectorAll('h1,h2,dt,dd,span,p,small,summary,a')].filter(e => e.innerText).map(e => {
        const a = light(getComputedStyle(e).color), b = light(behind(e));
        return [e.innerText, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)] }) }"""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)  # type: ignore[arg-type]
            tab = context.new_page()
            tab.goto((tmp_path / "page.html").as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390
            faint = [(text, ratio) for text, ratio in tab.evaluate(contrast) if ratio < 4.5]
            assert faint == [], f"{scheme}: WCAG 2.1 asks for 4.5"
            context.close()
        browser.close()

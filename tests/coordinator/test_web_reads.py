"""What the web shows: pages, meters, proofs that verify, records byte for byte, limits, live values."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import websockets
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import BatchRecord
from contracts.codes import Side
from contracts.eip712 import keccak
from contracts.interval import INTERVAL_S, interval_of
from contracts.proof_pack import interval_pack_faults, open_pack
from coordinator.web.app import create_app, openapi_document
from coordinator.web.limits import CONTENT_POLICY, RateLimit, TokenBuckets, nesting_exceeds
from coordinator.web.live import FRAMES_KEPT, Tab
from coordinator.web.pages import encode
from tests.coordinator.running import Running, bid_of, body_of, open_product, reading_of, running
from tests.coordinator.street import DOMAIN, MARKET, START_S

NOW = interval_of(START_S)
MISSION_ROUTES = {
    ("post", "/api/v1/orders"),
    ("get", "/api/v1/orders/{id}"),
    ("post", "/api/v1/orders/{id}/cancel"),
    ("get", "/api/v1/trades"),
    ("get", "/api/v1/grid/status"),
    ("get", "/api/v1/grid/demand"),
    ("get", "/api/v1/grid/supply"),
    ("post", "/api/v1/grid/balance"),
    ("post", "/api/v1/meters/reading"),
    ("get", "/api/v1/meters/{id}/history"),
    ("get", "/api/v1/meters/{id}/production"),
    ("get", "/api/v1/meters/{id}/consumption"),
}


async def trade(street: Running, intervals: int = 8) -> None:
    """Two homes trade once and are read every quarter-hour until ``intervals`` have passed."""
    for order in (bid_of(1, Side.BUY, 500, 200_000), bid_of(2, Side.SELL, 400, 100_000)):
        answer = await street.http.post("/api/v1/orders", json=body_of(order, order.account))
        assert answer.status_code == 201
    for passed in range(intervals):
        interval = NOW + passed
        await street.move_to(START_S + (passed + 1) * INTERVAL_S + 10)
        readings = (reading_of(1, interval, 300 * passed), reading_of(2, interval, 10 * passed, 250 * passed))
        for reading in readings:
            answer = await street.http.post("/api/v1/meters/reading", json=body_of(reading, reading.account))
            assert answer.status_code == 201


def test_the_missions_routes_are_there_exactly() -> None:
    document = openapi_document()
    routes = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert routes >= MISSION_ROUTES
    assert document["openapi"].startswith("3.1")


def test_a_traded_street_can_be_read_and_every_proof_verifies(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as street:
            await trade(street)
            get = street.http.get
            trades = (await get("/api/v1/trades", params={"account": 1})).json()["trades"]
            forward = next(t for t in trades if not t["spot"])
            assert (forward["fill_wh"], forward["amount_nano"]) == (400, 400 * forward["price"])
            order = (await get(f"/api/v1/orders/1-{open_product().number}-1")).json()
            assert (order["filled_wh"], order["status"]) == (400, "CANCELLED")
            newest = (await get("/api/v1/batches")).json()["batches"][0]["interval"]
            assert newest == NOW + 7
            before: dict[int, int] = {}
            for interval in range(NOW, NOW + 8):
                record = await get(f"/api/v1/batches/{interval}")
                assert record.headers["etag"] == f'"{keccak(record.content).hex()}"'
                assert BatchRecord.from_bytes(record.content).interval == interval
                again = await get(f"/api/v1/batches/{interval}", headers={"If-None-Match": record.headers["etag"]})
                assert (again.status_code, again.content) == (304, b"")
                for account in (1, 2):
                    proof = await get(f"/api/v1/proofs/{account}/{interval}")
                    if proof.status_code == 404:
                        assert proof.json()["code"] == "NOT_IN_BATCH"
                        continue
                    import zlib

                    pack = open_pack(zlib.compress(proof.content))
                    faults = interval_pack_faults(
                        pack,
                        account,
                        DOMAIN,
                        MARKET.operator,
                        MARKET.terms,
                        before.get(account),  # type: ignore[arg-type]
                    )
                    assert faults == []
                    before[account] = pack.balance.cumulative_nano if pack.balance else 0  # type: ignore[union-attr]
            assert set(before) == {1, 2}
            bill = (await get("/api/v1/bills/1")).json()
            assert bill["intervals"] == len(bill["statements"])
            assert bill["result_nano"] == sum(s["result_nano"] for s in bill["statements"]) == before[1]
            assert bill["saved_nano"] == bill["result_nano"] - bill["without_community_nano"]
            auctions = (await get("/api/v1/market/auctions")).json()["auctions"]
            assert {a["rule"] for a in auctions} >= {"FORWARD", "SPOT_SHARED"}

    asyncio.run(scenario())


def test_energy_of_a_meter_is_the_difference_of_its_registers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as street:
            first = NOW - 6
            registers = [0, 100, 250, 250, 900]
            for place, import_wh in enumerate(registers):
                interval = first + place + (place > 2)
                reading = reading_of(1, interval, import_wh, 10 * place)
                await street.http.post("/api/v1/meters/reading", json=body_of(reading, 1))
            exchanged = reading_of(1, first + 6, 3, epoch=2)
            assert exchanged.interval < NOW + 1
            consumed = (await street.http.get("/api/v1/meters/1-0/consumption")).json()
            assert consumed["total_wh"] == 900
            assert [s["energy_wh"] for s in consumed["steps"]] == [100, 150, 0, 650]
            gap = consumed["steps"][2]
            assert (gap["first_interval"], gap["last_interval"]) == (first + 3, first + 4)
            produced = (await street.http.get("/api/v1/meters/1-0/production", params={"by": "day"})).json()
            assert produced["total_wh"] == sum(s["energy_wh"] for s in produced["steps"]) == 40
            empty = {"first": NOW + 10, "last": NOW + 11}
            assert (await street.http.get("/api/v1/meters/1-0/production", params=empty)).json()["steps"] == []
            for wrong in ({"first": NOW, "last": NOW - 1}, {"first": 0, "last": NOW}):
                answer = await street.http.get("/api/v1/meters/1-0/production", params=wrong)
                assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_RANGE")
            pages, cursor = [], None
            while True:
                query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
                page = (await street.http.get("/api/v1/meters/1-0/history", params=query)).json()
                pages += [r["import_wh"] for r in page["readings"]]
                cursor = page["next"]
                if cursor is None:
                    break
            assert pages == registers[::-1]

    asyncio.run(scenario())


def test_what_is_not_there_is_a_named_problem(tmp_path: Path) -> None:
    expected = {
        "/api/v1/orders/1-5-1": (404, "UNKNOWN_ORDER"),
        "/api/v1/orders/nonsense": (422, "INVALID_REQUEST"),
        "/api/v1/meters/9-9/history": (404, "UNKNOWN_METER"),
        "/api/v1/meters/1/history": (422, "INVALID_REQUEST"),
        "/api/v1/batches/5": (404, "UNKNOWN_INTERVAL"),
        "/api/v1/proofs/1/5": (404, "UNKNOWN_INTERVAL"),
        "/api/v1/bills/77": (404, "UNKNOWN_ACCOUNT"),
        "/api/v1/market/orderbook?product=5": (404, "UNKNOWN_PRODUCT"),
        "/api/v1/trades?cursor=x": (422, "INVALID_CURSOR"),
        f"/api/v1/trades?cursor={encode((1, 2))}": (422, "INVALID_CURSOR"),
        f"/api/v1/trades?cursor={encode((2**70,) * 4)}": (422, "INVALID_CURSOR"),
        "/api/v1/trades?limit=100000": (422, "INVALID_REQUEST"),
        "/api/v1/nothing": (404, "NOT_FOUND"),
        "/api/v1/bills/99999999999999999999": (422, "INVALID_REQUEST"),
    }

    async def scenario() -> None:
        async with running(tmp_path) as street:
            for path, (status, code) in expected.items():
                answer = await street.http.get(path)
                assert (answer.status_code, answer.json()["code"]) == (status, code), path
                assert answer.headers["content-type"] == "application/problem+json"
            assert (await street.http.put("/api/v1/orders")).json()["code"] == "METHOD_NOT_ALLOWED"

    asyncio.run(scenario())


def test_every_answer_carries_the_browsers_protection_and_the_page_needs_no_other_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as street:
            for path in ("/", "/api/v1/trades", "/api/v1/nothing", "/static/page.js"):
                assert (await street.http.get(path)).headers["content-security-policy"] == CONTENT_POLICY
            page = (await street.http.get("/")).text
            assert re.findall(r'(?:src|href)="(?!/|#)', page) == []
            assert re.search(r"<script(?![^>]*src=)|style=|onclick=", page) is None

    asyncio.run(scenario())


def test_too_many_requests_are_told_when_to_come_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as street:
            app = create_app(street.runtime, rate=RateLimit(1, 3))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://grid") as http:
                answers = [await http.get("/healthz") for _ in range(5)]
            assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
            assert answers[-1].headers["retry-after"] == "1"
            assert answers[-1].json()["code"] == "TOO_MANY_REQUESTS"

    asyncio.run(scenario())


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 10), st.floats(0.5, 20))
def test_a_bucket_never_lets_more_through_than_its_burst_and_rate(
    pauses: list[float], burst: int, per_s: float
) -> None:
    buckets, now, passed = TokenBuckets(RateLimit(per_s, burst)), 0.0, 0
    for pause in pauses:
        now += pause
        passed += buckets.take("a", now) == 0
    assert 1 <= passed <= burst + per_s * now + 1


@given(st.integers(0, 60), st.integers(1, 40))
def test_nesting_is_seen_whatever_the_brackets(depth: int, limit: int) -> None:
    assert nesting_exceeds(b'{"a":[' * depth + b"1" + b"]}" * depth, limit) == (2 * depth > limit)


def test_metrics_and_readiness_tell_the_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as street:
            await street.http.post("/api/v1/orders", json=body_of(bid_of(9, Side.BUY, 5, 0), 9))
            await street.http.post(
                "/api/v1/orders",
                json=body_of(bid_of(1, Side.BUY, 5, 0, product=open_product(START_S - 4 * INTERVAL_S, 0)), 1),
            )
            text = (await street.http.get("/metrics")).text
            samples = [line for line in text.splitlines() if not line.startswith("#")]
            pattern = r'coordinator_[a-z_]+(\{[a-z]+="[^"]*"\})? -?\d+'
            assert all(re.fullmatch(pattern, line) for line in samples), samples
            assert 'coordinator_refusals_total{refusal="gate_closed"} 1' in samples
            assert "coordinator_queue_length 0" in samples
            assert (await street.http.get("/readyz")).status_code == 200
        assert street.runtime.ready is False

    asyncio.run(scenario())


@asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[tuple[Running, websockets.ClientConnection]]:
    """A running street with one browser tab's socket on it."""
    async with (
        running(folder) as street,
        served(street.app) as address,
        websockets.connect(f"ws://{address}/api/v1/ws") as socket,
    ):
        yield street, socket


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application on a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def test_live_values_come_at_once_and_after_every_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with tab(tmp_path) as (street, socket):
            await socket.send(json.dumps({"subscribe": ["auctions", "homes"]}))
            frames: dict[str, Any] = {}

            async def until(claim: Any) -> None:
                async with asyncio.timeout(10):
                    while not claim():
                        frame = json.loads(await socket.recv())
                        frames[frame["topic"]] = frame["value"]

            await until(lambda: len(frames) == 2)
            assert frames["auctions"] == []
            assert [home["edge"] for home in frames["homes"]] == ["home-1", "home-2", "home-3"]
            await trade(street, 2)
            await until(lambda: any(a["volume_wh"] == 400 for a in frames["auctions"]))

    asyncio.run(scenario())


WRONG_TEXTS = ["nonsense", '{"subscribe": ["everything"]}', '{"subscribe": "grid"}', "[]", "x" * 2000]


@pytest.mark.parametrize("text", WRONG_TEXTS)
def test_a_tab_that_asks_for_what_is_not_there_is_closed_with_the_reason(tmp_path: Path, text: str) -> None:
    async def scenario() -> websockets.ConnectionClosed:
        async with tab(tmp_path) as (_, socket):
            await socket.send(text)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 5)
            return closed.value

    error = asyncio.run(scenario())
    assert error.rcvd is not None and error.rcvd.code == 1003


def test_a_slow_tab_loses_the_oldest_frames_and_keeps_the_newest() -> None:
    tab = Tab()
    dropped = [not tab.push(str(number)) for number in range(FRAMES_KEPT + 5)]
    assert sum(dropped) == 5
    assert list(tab.frames) == [str(number) for number in range(5, FRAMES_KEPT + 5)]

"""Orders over REST: signed by the home, receipted by the operator, refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.codes import Side
from contracts.eip712 import Domain
from contracts.envelope import seal
from contracts.interval import INTERVAL_S, Product, ProductLength, interval_of, product_covering
from contracts.messages import FORCED_VERSION, Bid, GapRecord, Receipt, StandingOrder, TelemetryBatch
from contracts.signature import refusal_of, signer_of
from contracts.telemetry import CHAIN_START, TelemetryReading, batch_of, pack_columns
from coordinator.ingest import FUTURE_LIMIT_S, REGISTER_LIMIT_WH, Refusal
from coordinator.web.problems import STATUS_OF_REFUSAL
from tests.coordinator.running import TOKEN, Running, bid_of, body_of, open_product, reading_of, running
from tests.coordinator.street import DOMAIN, MARKET, START_S, key_of

EARLIER = interval_of(START_S) - 1
BATCH = [TelemetryReading(i, START_S - 600 + i, 0, 5, 5, 100, None, 230_000, 50_000) for i in range(60)]


def with_street(folder: Path, scenario: Callable[[Running], Awaitable[Any]], **how: Any) -> Any:
    """Runs a scenario against a running street."""

    async def whole() -> Any:
        async with running(folder, **how) as street:
            return await scenario(street)

    return asyncio.run(whole())


def test_an_order_gets_a_receipt_signed_by_the_operator_and_again_the_same(tmp_path: Path) -> None:
    bid = bid_of(1, Side.BUY, 500, 200_000)

    async def scenario(street: Running) -> None:
        first = await street.http.post("/api/v1/orders", json=body_of(bid, 1))
        again = await street.http.post("/api/v1/orders", json=body_of(bid, 1))
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        reply = first.json()["reply"]
        receipt = Receipt.from_json(reply["message"])
        assert receipt.bid_hash == bid.struct_hash()
        signature = bytes.fromhex(reply["signature"][2:])
        from contracts.eip712 import digest

        assert refusal_of(digest(receipt, DOMAIN), signature, MARKET.operator) is None
        found = (await street.http.get(f"/api/v1/orders/{first.json()['id']}")).json()
        assert (found["status"], found["side"], found["quantity_wh"]) == ("ACTIVE", "BUY", 500)

    with_street(tmp_path, scenario)


def test_an_order_is_cancelled_by_a_signed_order_of_nothing(tmp_path: Path) -> None:
    async def scenario(street: Running) -> None:
        placed = (await street.http.post("/api/v1/orders", json=body_of(bid_of(1, Side.BUY, 500, 200_000), 1))).json()
        address = f"/api/v1/orders/{placed['id']}"
        for wrong in (
            bid_of(1, Side.BUY, 5, 200_000, version=2),
            bid_of(1, Side.BUY, 0, 200_000, version=1),
            bid_of(2, Side.BUY, 0, 200_000, version=2),
            bid_of(1, Side.BUY, 0, 200_000, version=2, product=open_product(place=0)),
        ):
            answer = await street.http.post(f"{address}/cancel", json=body_of(wrong, wrong.account))
            assert (answer.status_code, answer.json()["code"]) == (422, "NOT_A_CANCELLATION")
        cancel = await street.http.post(f"{address}/cancel", json=body_of(bid_of(1, Side.BUY, 0, 0, version=2), 1))
        assert cancel.status_code == 200
        assert (await street.http.get(address)).json()["status"] == "CANCELLED"
        unknown = await street.http.post("/api/v1/orders/1-5-1/cancel", json=body_of(bid_of(1, Side.BUY, 0, 0, 2), 1))
        assert (unknown.status_code, unknown.json()["code"]) == (404, "UNKNOWN_ORDER")

    with_street(tmp_path, scenario)


def test_a_draft_is_what_a_wallet_signs_and_the_core_accepts(tmp_path: Path) -> None:
    from eth_account import Account

    product = open_product()
    hour = next(p for p in MARKET.calendar.open_products(START_S) if p.length == ProductLength.HOUR)

    async def scenario(street: Running) -> None:
        query = {"account": 1, "product": hour.number, "side": "SELL", "amount": 2_000, "price": 150_000}
        draft = (await street.http.get("/api/v1/orders/draft", params=query)).json()
        assert draft["message"]["quantity_wh"] == 500
        signed = Account.sign_typed_data(key_of(1), full_message=draft["typed_data"])
        body = {"message": draft["message"], "signature": "0x" + signed.signature.hex()}
        assert (await street.http.post("/api/v1/orders", json=body)).status_code == 201
        following = (await street.http.get("/api/v1/orders/draft", params=query)).json()
        assert following["message"]["version"] == 2
        odd = await street.http.get("/api/v1/orders/draft", params=query | {"amount": 2_001})
        assert (odd.status_code, odd.json()["code"]) == (422, "AMOUNT_NOT_DIVISIBLE")
        assert "2000 or 2004" in odd.json()["detail"]
        untraded = await street.http.get("/api/v1/orders/draft", params=query | {"product": product.number + 1})
        assert untraded.json()["code"] == "UNKNOWN_PRODUCT"

    with_street(tmp_path, scenario)


def test_an_order_may_be_said_by_its_amount(tmp_path: Path) -> None:
    hour = next(p for p in MARKET.calendar.open_products(START_S) if p.length == ProductLength.HOUR)
    bid = Bid(1, hour.number, 1, Side.BUY, 250, 200_000, hour.start_s)
    order = {
        "account": 1, "product": hour.number, "version": 1, "side": "BUY", "amount": 1_000, "price": 200_000,
        "expiry": hour.start_s,
    }  # fmt: skip

    async def scenario(street: Running) -> None:
        body = {"order": order, "signature": body_of(bid, 1)["signature"]}
        placed = await street.http.post("/api/v1/orders", json=body)
        assert placed.status_code == 201
        found = (await street.http.get(f"/api/v1/orders/{placed.json()['id']}")).json()
        assert (found["amount_wh"], found["quantity_wh"]) == (1_000, 250)
        odd = await street.http.post("/api/v1/orders", json=body | {"order": order | {"amount": 1_001}})
        assert odd.json()["code"] == "AMOUNT_NOT_DIVISIBLE"
        both = await street.http.post("/api/v1/orders", json=body | {"message": bid.to_json()})
        assert both.json()["code"] == "WRONG_FIELDS"

    with_street(tmp_path, scenario)


def telemetry_body(batch: TelemetryBatch, columns: bytes) -> dict[str, object]:
    return body_of(batch, 1) | {"attachment": "0x" + columns.hex()}


def refused_requests() -> dict[Refusal, tuple[str, dict[str, object]]]:
    """A request for every refusal that a REST caller can bring about."""
    good = bid_of(1, Side.BUY, 500, 200_000)
    batch = batch_of(1, 0, 1, CHAIN_START, BATCH)
    elsewhere = seal(good, Domain(1, bytes(20)), signer_of(key_of(1)))
    late = Product(interval_of(START_S), 1)
    far = Product(interval_of(START_S) + 400, 1)
    day = product_covering(interval_of(START_S) + 200, ProductLength.DAY)
    rich = bid_of(1, Side.BUY, 10**9, 10_000_000)
    expired = Bid(1, open_product().number, 1, Side.BUY, 5, 200_000, START_S - 10)
    orders, readings = "/api/v1/orders", "/api/v1/meters/reading"
    ahead = reading_of(1, interval_of(START_S) + FUTURE_LIMIT_S // INTERVAL_S + 1, 5)
    return {
        Refusal.OVERSIZED: (readings, telemetry_body(batch, bytes(72_000))),
        Refusal.MALFORMED: (orders, {"message": good.to_json(), "signature": "0x00"}),
        Refusal.UNKNOWN_ACCOUNT: (orders, body_of(bid_of(99, Side.BUY, 5, 0), 99)),
        Refusal.WRONG_EDGE: (orders, body_of(bid_of(4, Side.BUY, 5, 0), 4)),
        Refusal.FROM_THE_FUTURE: (readings, body_of(ahead, 1)),
        Refusal.TOO_OLD: (readings, body_of(reading_of(1, EARLIER - 91 * 96, 5), 1)),
        Refusal.OUT_OF_RANGE: (readings, body_of(reading_of(1, EARLIER, REGISTER_LIMIT_WH + 1), 1)),
        Refusal.RESERVED_VERSION: (orders, body_of(bid_of(1, Side.BUY, 5, 0, version=FORCED_VERSION), 1)),
        Refusal.WRONG_SIGNATURE: (
            orders, {"message": good.to_json(), "signature": "0x" + elsewhere.signature.hex()},
        ),
        Refusal.COLUMNS_DIFFER: (readings, telemetry_body(batch, pack_columns(BATCH[:-1]))),
        Refusal.UNKNOWN_PRODUCT: (orders, body_of(bid_of(1, Side.BUY, 5, 0, product=day), 1)),
        Refusal.GATE_CLOSED: (orders, body_of(bid_of(1, Side.BUY, 5, 0, product=late), 1)),
        Refusal.NOT_YET_OPEN: (orders, body_of(bid_of(1, Side.BUY, 5, 0, product=far), 1)),
        Refusal.EXPIRED: (orders, body_of(expired, 1)),
        Refusal.BEYOND_COLLATERAL: (orders, body_of(rich, 1)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[Refusal, tuple[int, dict[str, Any], str]]:
    async def scenario(street: Running) -> dict[Refusal, tuple[int, dict[str, Any], str]]:
        for account in (1, 2, 3):
            await street.runtime.request(lambda core, now, a=account: (core.enrol(a, f"home-{a}", now), []))  # type: ignore[misc]
        found = {}
        for refusal, (path, body) in refused_requests().items():
            answer = await street.http.post(path, json=body)
            found[refusal] = (answer.status_code, answer.json(), answer.headers["content-type"])
        newest = bid_of(1, Side.BUY, 400, 200_000, version=3)
        assert (await street.http.post("/api/v1/orders", json=body_of(newest, 1))).status_code == 201
        stale = await street.http.post("/api/v1/orders", json=body_of(bid_of(1, Side.BUY, 1, 0, version=2), 1))
        found[Refusal.STALE_VERSION] = (stale.status_code, stale.json(), stale.headers["content-type"])
        return found

    folder = tmp_path_factory.mktemp("refusals")
    result: dict[Refusal, tuple[int, dict[str, Any], str]] = with_street(folder, scenario, homes=4, enrol=False)
    return result


@pytest.mark.parametrize("refusal", [*refused_requests(), Refusal.STALE_VERSION], ids=lambda r: r.name)
def test_every_refusal_a_caller_can_bring_about_is_a_problem_with_its_name(
    refusal: Refusal, answers: dict[Refusal, tuple[int, dict[str, Any], str]]
) -> None:
    status, problem, media_type = answers[refusal]
    assert problem["code"] == refusal.name
    assert status == problem["status"] == STATUS_OF_REFUSAL[refusal]
    assert 400 <= status < 500
    assert media_type == "application/problem+json"
    assert {"type", "title", "status", "code", "detail"} == set(problem)


def test_the_statuses_cover_every_refusal_and_none_blames_the_server() -> None:
    assert set(STATUS_OF_REFUSAL) == set(Refusal)
    assert all(400 <= status < 500 for status in STATUS_OF_REFUSAL.values())


def test_bodies_that_are_no_request_are_named_and_change_nothing(tmp_path: Path) -> None:
    good = body_of(bid_of(1, Side.BUY, 5, 0), 1)

    async def scenario(street: Running) -> None:
        async def post(content: bytes, path: str = "/api/v1/orders") -> tuple[int, str]:
            answer = await street.http.post(path, content=content, headers={"Content-Type": "application/json"})
            assert answer.headers["content-type"] == "application/problem+json"
            return answer.status_code, answer.json()["code"]

        assert await post(b"{") == (400, "MALFORMED_JSON")
        assert await post(b"[" * 100_000) == (400, "MALFORMED_JSON")
        assert await post(b"") == (422, "INVALID_REQUEST")
        assert await post(b"[]") == (422, "INVALID_REQUEST")
        assert await post(b'{"message": {}, "signature": "0x"}') == (422, "WRONG_FIELDS")
        assert await post(b"x" * (256 * 1024 + 1)) == (413, "BODY_TOO_LARGE")
        assert await post(b"\xff\xfe") in ((400, "MALFORMED_JSON"), (422, "INVALID_REQUEST"))
        for changes in ({"side": 7}, {"limit_price": 7}, {"quantity_wh": -1}, {"product": 3}, {"account": "x"}):
            answer = await street.http.post("/api/v1/orders", json=good | {"message": {**good["message"], **changes}})  # type: ignore[dict-item]
            assert (answer.status_code, answer.json()["code"]) == (422, "ILLEGAL_VALUE"), changes
        answer = await street.http.post("/api/v1/orders", json=good | {"signature": "0xzz"})
        assert answer.json()["code"] == "INVALID_REQUEST"
        answer = await street.http.post("/api/v1/orders", json=good | {"surprise": 1})
        assert answer.json()["code"] == "INVALID_REQUEST"
        assert (await street.http.get("/api/v1/trades")).json()["trades"] == []
        assert street.runtime.core.counters["accepted"] == 0

    with_street(tmp_path, scenario)


def test_readings_gaps_and_standing_orders_are_taken_over_rest_as_over_mqtt(tmp_path: Path) -> None:
    batch = batch_of(1, 0, 1, CHAIN_START, BATCH)
    standing = StandingOrder(1, 1, 300_000, 90_000, 0, 0)
    gap = GapRecord(1, 0, 1, 1, 60, 70, 0, START_S)

    async def scenario(street: Running) -> None:
        reading = await street.http.post("/api/v1/meters/reading", json=body_of(reading_of(1, EARLIER, 70), 1))
        assert (reading.status_code, reading.json()["reply"]["kind"]) == (201, "Acknowledgement")
        telemetry = await street.http.post("/api/v1/meters/reading", json=telemetry_body(batch, pack_columns(BATCH)))
        assert telemetry.json()["reply"]["message"]["last_sequence"] == 59
        assert (await street.http.post("/api/v1/meters/reading", json=body_of(gap, 1))).status_code == 201
        order = await street.http.post("/api/v1/orders", json=body_of(standing, 1))
        assert (order.status_code, order.json()["id"]) == (201, None)
        status = (await street.http.get("/api/v1/grid/status")).json()
        assert (status["homes"], status["net_w"], status["lowest_voltage_mv"]) == (1, 100, 230_000)

    with_street(tmp_path, scenario)


def test_the_operators_routes_need_the_token(tmp_path: Path) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    async def scenario(street: Running) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = await street.http.post("/api/v1/grid/balance", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, "NOT_AUTHORISED")
        step = await street.http.post("/api/v1/grid/balance", headers=bearer)
        assert step.status_code == 200 and step.json()["reason"]
        home = {"account": 3, "edge": "home-3", "devices": [{"device": 1, "lowest_w": -3000, "highest_w": 3000}]}
        assert (await street.http.post("/api/v1/homes", json=home, headers=bearer)).status_code == 201
        taken = await street.http.post("/api/v1/homes", json=home | {"edge": "home-1"}, headers=bearer)
        assert (taken.status_code, taken.json()["code"]) == (409, "NOT_ENROLLED")
        inverted = home | {"devices": [{"device": 1, "lowest_w": 5, "highest_w": 4}]}
        assert (await street.http.post("/api/v1/homes", json=inverted, headers=bearer)).status_code == 422

    with_street(tmp_path, scenario)


def test_where_reading_is_not_open_only_the_operator_reads(tmp_path: Path) -> None:
    async def scenario(street: Running) -> None:
        for path in ("/api/v1/trades", "/api/v1/grid/status", "/api/v1/bills/1", "/api/v1/market/products"):
            assert (await street.http.get(path)).status_code == 401, path
            allowed = await street.http.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert allowed.status_code == 200, path
        placed = await street.http.post("/api/v1/orders", json=body_of(bid_of(1, Side.BUY, 5, 200_000), 1))
        assert placed.status_code == 201

    with_street(tmp_path, scenario, open_reads=False)

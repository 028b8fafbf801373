"""What homes say of themselves: kept within bounds, judged, shown to the operator, and without any consequence."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.attestation import AttestationRefusal, KeyAttestation, SignedAttestation
from contracts.birth import Birth, MeterBirth
from contracts.eip712 import digest
from contracts.p256 import public_key_of, sign
from contracts.signature import address_of, signer_of
from contracts.topics import PAYLOAD_LIMIT_BYTES, Leaf, topic
from coordinator import cli
from coordinator.hearsay import Vouched, vouched_for
from coordinator.replay import first_difference, replay
from coordinator.shell.ingest_port import Incoming
from coordinator.store.store import Store
from tests.coordinator.running import TOKEN, HandBroker, Running, running
from tests.coordinator.street import ADA, BO, CY, DOMAIN, MARKET, OPERATOR, START_S, Street, edge_of, key_of

ELEMENT_KEY, OTHER_KEY = b"\x11" * 32, b"\x12" * 32
ELEMENT = b"".join(public_key_of(ELEMENT_KEY))
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def birth_of(account: int, element: bytes | None = ELEMENT_KEY, **changes: Any) -> Birth:
    """What the agent of an account says, attested by an element."""
    address = address_of(key_of(account))
    signed = None
    if element is not None:
        said = KeyAttestation(account, address, *public_key_of(element), START_S - 10, START_S + 900)
        signed = SignedAttestation(said, sign(element, digest(said, DOMAIN)))
    meters = (MeterBirth(0, "eastron_sdm630", b"\x07" * 32), MeterBirth(1, telegram="p1"))
    return replace(Birth("0.1.0", account, address, 4, meters, signed), **changes)


def say(street: Street, birth: Birth | bytes, account: int = ADA, leaf: Leaf = Leaf.BIRTH) -> None:
    payload = birth if isinstance(birth, bytes) else birth.pack()
    assert street.core.on_message(topic("street", edge_of(account), leaf), payload, street.now_ms) == []


def verdict(street: Street, account: int = ADA, now_s: int = START_S) -> object:
    birth, participant = street.core.hearsay.of(edge_of(account)).birth, street.core.registry.participant(account)
    assert birth is not None and participant is not None
    return vouched_for(birth, participant, DOMAIN, now_s)


def test_the_latest_birth_and_state_of_a_home_are_kept() -> None:
    street = Street()
    say(street, birth_of(ADA, epoch=4))
    say(street, birth_of(ADA, epoch=5))
    say(street, b'{"online": true, "at_s": 1}', leaf=Leaf.STATE)
    said = street.core.hearsay.of(edge_of(ADA))
    assert said.birth == birth_of(ADA, epoch=5) and said.online is True and said.born_at_s == START_S
    say(street, b'{"online": false, "at_s": 2}', leaf=Leaf.STATE)
    assert street.core.hearsay.of(edge_of(ADA)).online is False
    assert street.core.hearsay.of(edge_of(BO)).birth is None
    assert (street.core.counters["births_heard"], street.core.counters["states_heard"]) == (2, 2)


@pytest.mark.parametrize(
    ("feeder", "edge", "leaf", "payload", "name"),
    [
        ("other", "home-1", Leaf.BIRTH, b"", "other_feeder"),
        ("street", "stranger", Leaf.BIRTH, birth_of(ADA).pack(), "unknown_home"),
        ("street", "home-1", Leaf.BIRTH, b" " * (PAYLOAD_LIMIT_BYTES[Leaf.BIRTH] + 1), "oversized"),
        ("street", "home-1", Leaf.STATE, b" " * (PAYLOAD_LIMIT_BYTES[Leaf.STATE] + 1), "oversized"),
        ("street", "home-1", Leaf.BIRTH, b"", "malformed"),
        ("street", "home-1", Leaf.BIRTH, b"[" * 10_000, "malformed"),
        ("street", "home-1", Leaf.STATE, b'{"online": 1}', "malformed"),
        ("street", "home-1", Leaf.STATE, b"[true]", "malformed"),
        ("street", "home-1", Leaf.STATE, b"\xff", "malformed"),
    ],
)
def test_words_that_are_refused_are_counted_by_name_and_disturb_nothing(
    feeder: str, edge: str, leaf: Leaf, payload: bytes, name: str
) -> None:
    street = Street()
    say(street, birth_of(ADA))
    assert street.core.on_message(topic(feeder, edge, leaf), payload, street.now_ms) == []
    assert street.core.counters[f"hearsay_{name}"] == 1
    assert street.core.hearsay.of(edge_of(ADA)).birth == birth_of(ADA)


@given(st.binary(max_size=60), st.sampled_from([Leaf.STATE, Leaf.BIRTH]))
def test_bytes_of_any_kind_raise_nothing(payload: bytes, leaf: Leaf) -> None:
    street = Street(homes=1)
    say(street, payload, leaf=leaf)
    assert street.core.counters["hearsay_malformed"] == 1


def test_births_change_no_table_and_are_no_part_of_a_replay() -> None:
    street = Street()
    before = street.store.derived_tables()
    entries = len(list(street.store.inputs()))
    for account in (ADA, BO, CY):
        say(street, birth_of(account), account)
        say(street, b'{"online": true}', account, Leaf.STATE)
    assert street.store.derived_tables() == before and len(list(street.store.inputs())) == entries


def test_an_attestation_is_judged_by_the_account_and_key_of_the_chain_and_the_registered_element() -> None:
    street = Street()
    say(street, birth_of(ADA, None))
    assert verdict(street) is Vouched.NOBODY
    say(street, birth_of(ADA))
    assert verdict(street) is Vouched.UNREGISTERED
    street.core.enrol_element(ADA, ELEMENT, street.now_ms)
    assert verdict(street) is Vouched.REGISTERED
    assert verdict(street, now_s=START_S + 900) is AttestationRefusal.EXPIRED
    assert verdict(street, now_s=START_S - 11) is AttestationRefusal.NOT_YET_VALID
    say(street, birth_of(ADA, OTHER_KEY))
    assert verdict(street) is AttestationRefusal.OTHER_ELEMENT
    say(street, replace(birth_of(ADA), attestation=birth_of(BO).attestation))
    assert verdict(street) is AttestationRefusal.OTHER_ACCOUNT
    good = birth_of(ADA).attestation
    assert isinstance(good, SignedAttestation)
    say(street, birth_of(ADA, attestation=replace(good, signature=b"\x01" * 64)))
    assert verdict(street) is AttestationRefusal.WRONG_SIGNATURE
    document = json.loads(birth_of(ADA).pack()) | {"attestation": "trust me"}
    say(street, json.dumps(document).encode())
    assert verdict(street) is AttestationRefusal.MALFORMED


def test_a_registered_element_is_rebuilt_by_a_replay_and_taken_over_by_a_later_one() -> None:
    street = Street()
    street.core.enrol_element(ADA, b"\x01" * 64, street.now_ms)
    street.core.enrol_element(ADA, ELEMENT, street.now_ms)
    rebuilt = replay(street.store, MARKET, signer_of(OPERATOR))
    assert first_difference(street.store, rebuilt.store) is None
    again = rebuilt.registry.participant(ADA)
    assert again is not None and again.element == ELEMENT


def test_a_store_of_before_learns_to_hold_elements(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    street = Street(store=Store(path))
    street.store.run("DROP TABLE elements")
    street.store.commit()
    street.store.close()
    reopened = Store(path)
    assert reopened.integer("SELECT COUNT(*) FROM elements") == 0
    reopened.close()


# -- what the operator sees ----------------------------------------------------------------------------------------


def with_street(folder: Path, scenario: Any, **parts: Any) -> None:
    """Runs a story against a running coordinator with a broker that the test hands messages to."""

    async def story() -> None:
        broker = HandBroker()
        async with running(folder, broker=broker, **parts) as street:
            await scenario(street, broker)

    asyncio.run(story())


async def heard(street: Running, broker: HandBroker, birth: Birth, account: int) -> None:
    """Hands a birth in and waits until it was taken."""
    taken = street.runtime.core.counters["births_heard"]
    broker.hand_in(Incoming(topic("street", edge_of(account), Leaf.BIRTH), birth.pack()))
    await street.until(lambda: street.runtime.core.counters["births_heard"] == taken + 1)


def test_the_operator_sees_what_each_home_says_and_who_vouches_for_it(tmp_path: Path) -> None:
    async def scenario(street: Running, broker: HandBroker) -> None:
        assert (await street.http.get("/api/v1/homes")).status_code == 401
        body = {"account": ADA, "edge": edge_of(ADA), "element": "0x" + ELEMENT.hex()}
        assert (await street.http.post("/api/v1/homes", json=body, headers=BEARER)).status_code == 201
        await heard(street, broker, birth_of(ADA), ADA)
        await heard(street, broker, birth_of(BO), BO)
        broker.hand_in(Incoming(topic("street", edge_of(BO), Leaf.STATE), b'{"online": true}'))
        await street.until(lambda: street.runtime.core.counters["states_heard"] == 1)
        found = (await street.http.get("/api/v1/homes", headers=BEARER)).json()
        ada, bo, cy = found["homes"]
        assert found["next"] is None and [home["account"] for home in found["homes"]] == [ADA, BO, CY]
        assert ada["attestation"]["code"] == "REGISTERED" and ada["element"] == "0x" + ELEMENT.hex()
        assert ada["says"]["version"] == "0.1.0" and ada["says"]["epoch"] == 4
        assert ada["says"]["meters"] == [
            {"meter": 0, "profile": "eastron_sdm630", "profile_hash": "0x" + "07" * 32, "telegram": None},
            {"meter": 1, "profile": None, "profile_hash": None, "telegram": "p1"},
        ]
        assert bo["attestation"]["code"] == "UNREGISTERED" and bo["online"] is True and bo["element"] is None
        assert bo["attestation"]["text"] == f"attested by element 0x{ELEMENT.hex()} (not registered)"
        assert cy["says"] is None and cy["attestation"] is None and cy["online"] is None
        await street.move_to(START_S + 900)
        (late, *_) = (await street.http.get("/api/v1/homes", headers=BEARER)).json()["homes"]
        assert late["attestation"]["code"] == "EXPIRED"

    with_street(tmp_path, scenario)


def test_homes_come_in_pages(tmp_path: Path) -> None:
    async def scenario(street: Running, broker: HandBroker) -> None:
        seen: list[int] = []
        cursor = ""
        while cursor is not None:
            asked = "/api/v1/homes?limit=2" + (f"&cursor={cursor}" if cursor else "")
            found = (await street.http.get(asked, headers=BEARER)).json()
            assert len(found["homes"]) <= 2
            seen += [home["account"] for home in found["homes"]]
            cursor = found["next"]
        assert seen == [1, 2, 3, 4, 5]

    with_street(tmp_path, scenario, homes=5)


@pytest.mark.parametrize("element", ["0x" + "00" * 64, "0x" + "11" * 63, "11" * 64, "0x" + "zz" * 64])
def test_an_element_that_is_no_key_is_not_registered(tmp_path: Path, element: str) -> None:
    async def scenario(street: Running, broker: HandBroker) -> None:
        body = {"account": ADA, "edge": edge_of(ADA), "element": element}
        assert (await street.http.post("/api/v1/homes", json=body, headers=BEARER)).status_code == 422
        participant = street.runtime.core.registry.participant(ADA)
        assert participant is not None and participant.element is None

    with_street(tmp_path, scenario)


def test_a_fault_of_the_core_does_not_forget_what_homes_said(tmp_path: Path) -> None:
    async def scenario(street: Running, broker: HandBroker) -> None:
        await heard(street, broker, birth_of(ADA), ADA)

        def broken(core: object, now_ms: int) -> Any:
            raise RuntimeError("planted")

        with pytest.raises(RuntimeError, match="planted"):
            await street.runtime.request(broken)
        assert street.runtime.core.hearsay.of(edge_of(ADA)).birth == birth_of(ADA)

    with_street(tmp_path, scenario)


def test_the_command_line_registers_an_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(cli, "_ask", lambda *words: asked.append(words[-1]))
    words = ["enrol", "1", "home-1", "--token-file", str(tmp_path / "token")]
    assert CliRunner().invoke(cli.app, [*words, "--element", "0x" + ELEMENT.hex()]).exit_code == 0
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    assert [body.get("element") for body in asked] == ["0x" + ELEMENT.hex(), None]

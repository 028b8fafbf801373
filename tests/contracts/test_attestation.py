"""Attestations and births: what vouches for a key, what does not and why, and words of homes within bounds."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak as reference_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.attestation import (
    VALIDITY_LIMIT_S,
    AttestationRefusal,
    KeyAttestation,
    SignedAttestation,
    open_attestation,
)
from contracts.birth import METERS_LIMIT, NAME_LIMIT, Birth, MeterBirth, open_birth
from contracts.eip712 import Domain, LocalValueError, digest, typed_data
from contracts.messages import ACCOUNT_LIMIT, MESSAGES
from contracts.p256 import ORDER, public_key_of, sign
from contracts.topics import PAYLOAD_LIMIT_BYTES, Leaf

DOMAIN = Domain(31337, bytes(19) + b"\x09")
ADA, ADA_ADDRESS = 7, bytes([0xAD]) * 20
ELEMENT, OTHER_ELEMENT = b"\x11" * 32, b"\x22" * 32
FROM_S, UNTIL_S = 1_800_000_000, 1_800_086_400
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=NAME_LIMIT)


def attested(domain: Domain = DOMAIN, element: bytes = ELEMENT, **changes: Any) -> SignedAttestation:
    """Ada's key, vouched for by her element."""
    said = replace(KeyAttestation(ADA, ADA_ADDRESS, *public_key_of(element), FROM_S, UNTIL_S), **changes)
    return SignedAttestation(said, sign(element, digest(said, domain)))


def judged(signed: SignedAttestation, now_s: int | None = FROM_S, element: bytes | None = None) -> Any:
    """The verdict for Ada."""
    return signed.refusal(DOMAIN, ADA, ADA_ADDRESS, now_s, element)


def key_bytes(element: bytes) -> bytes:
    return b"".join(public_key_of(element))


def test_an_attestation_counts_for_its_account_key_market_and_time() -> None:
    good = attested()
    assert judged(good) is None and judged(good, UNTIL_S - 1) is None and judged(good, None) is None
    assert judged(good, element=key_bytes(ELEMENT)) is None
    assert judged(good, FROM_S - 1) is AttestationRefusal.NOT_YET_VALID
    assert judged(good, UNTIL_S) is AttestationRefusal.EXPIRED
    assert judged(good, element=key_bytes(OTHER_ELEMENT)) is AttestationRefusal.OTHER_ELEMENT
    assert judged(attested(account=8)) is AttestationRefusal.OTHER_ACCOUNT
    assert judged(attested(session_address=bytes(20))) is AttestationRefusal.OTHER_KEY
    assert judged(attested(Domain(1, DOMAIN.contract))) is AttestationRefusal.WRONG_SIGNATURE
    assert judged(attested(Domain(31337, bytes(20)))) is AttestationRefusal.WRONG_SIGNATURE
    s = int.from_bytes(good.signature[32:], "big")
    twin = replace(good, signature=good.signature[:32] + (ORDER - s).to_bytes(32, "big"))
    assert judged(twin) is AttestationRefusal.HIGH_S


def test_of_several_reasons_the_first_is_named() -> None:
    """Each step mends the first fault; the reasons come in the order of the enumeration."""
    bad = replace(attested(account=8), signature=b"\xff" * 64)
    said = replace(bad.attestation, session_address=bytes(20), element_x=bytes(32))
    mending = (
        {"element_x": public_key_of(ELEMENT)[0]},
        {"account": ADA},
        {"session_address": ADA_ADDRESS},
    )
    seen = []
    for step in mending:
        seen.append(replace(bad, attestation=said).refusal(DOMAIN, ADA, ADA_ADDRESS, UNTIL_S, bytes(64)))
        said = replace(said, **step)
    for now_s, element in ((UNTIL_S, bytes(64)), (FROM_S - 1, None), (UNTIL_S, None), (FROM_S, None)):
        seen.append(judged(replace(bad, attestation=said), now_s, element))
    seen.append(judged(replace(bad, attestation=said, signature=bytes(64))))
    assert seen == list(AttestationRefusal)[1:]


def test_one_changed_bit_anywhere_is_refused() -> None:
    good = attested()
    packed = good.attestation.pack()
    for bit in range(8 * len(packed)):
        try:
            said = KeyAttestation.unpack(flipped(packed, bit))
        except LocalValueError:
            continue  # such an attestation cannot even be built
        assert judged(replace(good, attestation=said), FROM_S) is not None, bit
    for bit in range(8 * len(good.signature)):
        assert judged(replace(good, signature=flipped(good.signature, bit))) is not None, bit


def flipped(text: bytes, bit: int) -> bytes:
    return (int.from_bytes(text, "big") ^ 1 << bit).to_bytes(len(text), "big")


def test_the_digest_is_that_of_wallets() -> None:
    said = attested().attestation
    shown = encode_typed_data(full_message=typed_data(said, DOMAIN))
    assert digest(said, DOMAIN) == reference_keccak(b"\x19\x01" + shown.header + shown.body)


def test_an_attestation_never_travels_in_an_envelope() -> None:
    assert KeyAttestation not in MESSAGES


@pytest.mark.parametrize(
    "changes",
    [
        {"account": ACCOUNT_LIMIT},
        {"valid_until_s": FROM_S},
        {"valid_until_s": FROM_S + VALIDITY_LIMIT_S + 1},
        {"session_address": bytes(32)},
        {"element_x": bytes(31)},
    ],
)
def test_illegal_attestations_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalValueError):
        attested(**changes)
    with pytest.raises(LocalValueError):
        replace(attested(), signature=bytes(65))


def test_an_attestation_comes_back_from_json_and_anything_else_is_malformed() -> None:
    good = attested()
    document = good.to_json()
    assert open_attestation(json.loads(json.dumps(document))) == good
    junk: tuple[Any, ...] = (
        None, 3, [], "", {}, document | {"more": 1}, {"attestation": document["attestation"]},
        document | {"signature": good.signature.hex()}, document | {"signature": "0x"}, document | {"signature": 7},
        document | {"signature": "0xzz"}, document | {"attestation": []}, document | {"attestation": None},
        *(document | {"attestation": document["attestation"] | {f.name: "x"}} for f in fields(KeyAttestation)),
        document | {"attestation": document["attestation"] | {"valid_until_s": "9" * 9_000}},
    )  # fmt: skip
    for spoilt in junk:
        assert open_attestation(spoilt) is AttestationRefusal.MALFORMED, spoilt


# -- births --------------------------------------------------------------------------------------------------------

METERS = st.builds(
    MeterBirth,
    st.integers(0, 2**16 - 1),
    st.none() | NAMES,
    st.none() | st.binary(min_size=32, max_size=32),
    st.none() | NAMES,
)
BIRTHS = st.builds(
    Birth,
    NAMES,
    st.integers(0, ACCOUNT_LIMIT - 1),
    st.binary(min_size=20, max_size=20),
    st.integers(0, 2**32 - 1),
    st.lists(METERS, max_size=6).map(tuple),
    st.none() | st.just(attested()),
)


@given(BIRTHS)
def test_a_birth_comes_back_as_it_was_said(birth: Birth) -> None:
    assert open_birth(birth.pack()) == birth


def test_the_largest_birth_fits_into_its_topic() -> None:
    row = MeterBirth(2**16 - 1, "p" * NAME_LIMIT, b"\xff" * 32)
    birth = Birth("9" * NAME_LIMIT, ACCOUNT_LIMIT - 1, bytes(20), 2**32 - 1, (row,) * METERS_LIMIT, attested())
    assert len(birth.pack()) <= PAYLOAD_LIMIT_BYTES[Leaf.BIRTH]
    assert open_birth(birth.pack()) == birth
    assert open_birth(replace(birth, meters=(row,) * (METERS_LIMIT + 1)).pack()) is None
    assert open_birth(birth.pack() + b" " * PAYLOAD_LIMIT_BYTES[Leaf.BIRTH]) is None


def test_a_birth_without_hashes_and_with_more_fields_is_understood() -> None:
    text = {"version": "0.0.9", "account": 7, "address": "0x" + "11" * 20, "epoch": 3, "colour": [1]}
    rows = [{"meter": 0, "profile": "eastron_sdm630"}, {"meter": 1, "profile": "", "telegram": "p1"}]
    assert open_birth(json.dumps(text | {"meters": rows}).encode()) == Birth(
        "0.0.9", 7, b"\x11" * 20, 3, (MeterBirth(0, "eastron_sdm630"), MeterBirth(1, telegram="p1"))
    )


def test_a_false_attestation_does_not_take_the_birth_with_it() -> None:
    birth = Birth("1", ADA, ADA_ADDRESS, 1, (), attested())
    document = json.loads(birth.pack())
    document["attestation"]["signature"] = "0x00"
    found = open_birth(json.dumps(document).encode())
    assert found is not None and found.attestation is AttestationRefusal.MALFORMED


@settings(max_examples=200)
@given(BIRTHS, st.data())
def test_spoilt_births_give_nothing_and_raise_nothing(birth: Birth, data: st.DataObject) -> None:
    document = json.loads(birth.pack())
    junk = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=70),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["meter", "x"]), inner),
        max_leaves=4,
    )
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(junk)
    found = open_birth(json.dumps(document).encode())
    if found is not None:  # what was drawn was legal
        assert open_birth(found.pack()) is not None
    del document[name]
    assert name == "attestation" or open_birth(json.dumps(document).encode()) is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_birth_give_nothing(payload: bytes) -> None:
    assert open_birth(payload) is None


@pytest.mark.parametrize("payload", [b"", b"[" * 9_000, b'{"meters":' * 1_000, b"null", b"[]", b'"' * 16_385])
def test_hostile_births_give_nothing(payload: bytes) -> None:
    assert open_birth(payload) is None

"""P-256 against the vectors of RFC 6979, another library, and the P-256 library of the contracts on an EVM."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.p256 import (
    HALF_ORDER,
    ORDER,
    PRIME,
    LocalKeyError,
    has_high_s,
    is_on_curve,
    is_signed,
    public_key_of,
    sign,
    with_low_s,
)
from tests.contracts.local_chain import START_S, RefusedError, py_evm_chain, refusing

RFC_KEY = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
RFC_PUBLIC_KEY = (
    bytes.fromhex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"),
    bytes.fromhex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"),
)
RFC_SIGNATURES = {
    b"sample": "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    b"test": "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
    "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
}
KEYS = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
WORDS = st.binary(min_size=32, max_size=32)


def twin(signature: bytes) -> bytes:
    """The other signature of the same digest."""
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + (ORDER - s).to_bytes(32, "big")


@pytest.mark.parametrize("message", RFC_SIGNATURES)
def test_the_vectors_of_rfc_6979_come_out_with_low_s(message: bytes) -> None:
    digest = sha256(message).digest()
    expected = with_low_s(bytes.fromhex(RFC_SIGNATURES[message]))
    assert public_key_of(RFC_KEY) == RFC_PUBLIC_KEY
    assert sign(RFC_KEY, digest) == expected
    assert is_signed(digest, expected, *RFC_PUBLIC_KEY) and not has_high_s(expected)


@settings(max_examples=30)
@given(KEYS, st.binary(max_size=40))
def test_another_library_takes_our_signatures_and_we_its(key: bytes, message: bytes) -> None:
    digest, public_key = sha256(message).digest(), public_key_of(key)
    theirs = ECC.construct(curve="P-256", d=int.from_bytes(key, "big"))
    assert theirs.public_key() == ECC.construct(
        curve="P-256",
        point_x=int.from_bytes(public_key[0], "big"),
        point_y=int.from_bytes(public_key[1], "big"),
    )
    signed = DSS.new(theirs, "deterministic-rfc6979").sign(SHA256.new(message))
    assert with_low_s(signed) == sign(key, digest)
    DSS.new(theirs.public_key(), "fips-186-3").verify(SHA256.new(message), sign(key, digest))
    at_random = with_low_s(DSS.new(theirs, "fips-186-3").sign(SHA256.new(message)))
    assert is_signed(digest, at_random, *public_key)


@settings(max_examples=40)
@given(KEYS, WORDS, st.integers(0, 511), st.integers(0, 255))
def test_one_changed_bit_of_signature_or_digest_is_refused(key: bytes, digest: bytes, bit: int, other: int) -> None:
    public_key, signature = public_key_of(key), sign(key, digest)
    assert is_signed(digest, signature, *public_key)
    changed = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    assert not is_signed(digest, changed, *public_key)
    assert not is_signed((int.from_bytes(digest, "big") ^ 1 << other).to_bytes(32, "big"), signature, *public_key)
    assert not is_signed(digest, twin(signature), *public_key) and has_high_s(twin(signature))
    assert with_low_s(twin(signature)) == signature == with_low_s(signature)


@given(WORDS, WORDS, st.binary(max_size=70))
def test_random_points_and_signatures_are_refused_without_an_error(x: bytes, y: bytes, signature: bytes) -> None:
    assert not is_on_curve(x, y)
    assert not is_signed(x, signature, x, y)
    assert not is_signed(x, signature, *RFC_PUBLIC_KEY)


@pytest.mark.parametrize("r", [0, 1, ORDER - 1, ORDER, PRIME, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, HALF_ORDER, HALF_ORDER + 1, ORDER - 1, ORDER, 2**256 - 1])
def test_numbers_at_the_edges_sign_nothing(r: int, s: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    for digest in (bytes(32), b"\xff" * 32, ORDER.to_bytes(32, "big")):
        assert not is_signed(digest, signature, *RFC_PUBLIC_KEY)


def test_a_coordinate_beyond_the_prime_is_no_key_although_its_remainder_is() -> None:
    x = 5
    root = pow(
        x**3 - 3 * x + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B, (PRIME + 1) // 4, PRIME
    )
    y = root.to_bytes(32, "big")
    assert is_on_curve(x.to_bytes(32, "big"), y)
    assert not is_on_curve((x + PRIME).to_bytes(32, "big"), y)
    assert not is_on_curve(bytes(32), bytes(32)) and not is_on_curve(b"", b"")


@settings(max_examples=20)
@given(st.integers(1, 60), WORDS)
def test_small_keys_sign_as_well_where_points_of_the_sum_meet(key: int, digest: bytes) -> None:
    """The key 1 is the generator itself and ORDER - 1 its mirror: sums run into doubling and into infinity."""
    for secret in (key, ORDER - key):
        private = secret.to_bytes(32, "big")
        assert is_signed(digest, sign(private, digest), *public_key_of(private))


@pytest.mark.parametrize("key", [b"", bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, bytes(31) + b"\x01\x01"])
def test_a_number_outside_the_order_is_no_private_key(key: bytes) -> None:
    with pytest.raises(LocalKeyError):
        sign(key, bytes(32))
    with pytest.raises(LocalKeyError):
        public_key_of(key)
    with pytest.raises(LocalKeyError):
        sign(RFC_KEY, key[:31])


def test_the_contract_takes_and_refuses_the_same_signatures() -> None:
    """SmartMeter checks P-256 with the library of the contracts: every verdict here is its verdict as well."""
    chain = py_evm_chain()
    chain.open_accounts(1)
    roles = chain.deploy("Roles", chain.operator)
    meters = chain.deploy("SmartMeter", roles.address, chain.settlement.address)
    public_key = public_key_of(RFC_KEY)
    chain.receipt(meters.functions.registerP256Meter(*public_key, 1, 1).transact({"from": chain.operator}))
    verdicts = []
    for number in range(6):
        reading = (START_S, 1_000 + number, 500, 50_000, 230_000)
        digest = bytes(meters.functions.digestOf(reading).call())
        good = sign(RFC_KEY, digest)
        for signature in (good, twin(good), sign(RFC_KEY, bytes(32)), good[32:] + good[:32], bytes(64)):
            ours = is_signed(digest, signature, *public_key)
            assert ours == taken(meters, reading, signature, public_key)
            verdicts.append(ours)
    assert sum(verdicts) == 6 and len(verdicts) == 30


def taken(meters: Any, reading: tuple[int, ...], signature: bytes, public_key: tuple[bytes, bytes]) -> bool:
    """Whether the contract would store a reading with that signature."""
    asked = meters.functions[
        "submitSignedReading((uint256,uint256,uint256,uint256,uint256),bytes32,bytes32,bytes32,bytes32)"
    ]
    try:
        with refusing([meters]):
            asked(reading, signature[:32], signature[32:], *public_key).call({"gas": 4_000_000})
    except RefusedError as refusal:
        assert str(refusal) == "NotByMeter"
        return False
    return True

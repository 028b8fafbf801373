"""The prepared decoder against the plain one: the same integers, for every profile and for any words at all."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.codec import decode, encode, rollover
from device_profiles.decode_plan import Decoder
from device_profiles.profile import list_profiles, load_profile
from device_profiles.profile_parts import Point, Profile, RegisterImage
from device_profiles.read_plan import Request, plan
from device_profiles.sunspec import layout, resolve


def placed(name: str) -> Profile:
    """A profile with addresses."""
    profile = load_profile(name)
    return profile if profile.resolved else resolve(profile, layout(profile))


def compare(profile: Profile, words: Random, spoil: bool) -> None:
    requests = plan(profile.points, profile.bus, "tcp").requests
    shown = encode(profile, dict(profile.example.values)) if not spoil else RegisterImage()
    image, blocks = RegisterImage(), []
    for request in requests:
        places = range(request.address, request.address + request.count)
        found = [shown.get((request.function, place), words.choice((0, 0x8000, 0xFFFF, 0x7FC0, words.getrandbits(16))))
                 for place in places]  # fmt: skip
        image.put(request.function, request.address, found)
        blocks.append(b"".join(word.to_bytes(2, "big") for word in found))
    decoder = Decoder(profile.points, requests)
    assert decoder.values(blocks) == decode(profile, image)
    expected = {p.measurement: at for p in profile.points if p.counter and (at := rollover(p, image)) is not None}
    assert decoder.rollovers(blocks) == expected


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_s_example_decodes_to_the_same_integers(name: str) -> None:
    compare(placed(name), Random(name), spoil=False)


@pytest.mark.parametrize("name", list_profiles())
def test_any_words_decode_to_the_same_integers(name: str) -> None:
    random = Random(name)
    for _ in range(20):
        compare(placed(name), random, spoil=True)


@settings(max_examples=400, deadline=None)
@given(
    octets=st.binary(min_size=8, max_size=8),
    kind=st.sampled_from(["float32", "float64", "int16", "uint32", "int32", "int64", "acc32"]),
    scale=st.tuples(st.integers(1, 1 << 31), st.sampled_from([1, 1, 3, 1000])),
    sign=st.sampled_from([1, -1]),
    order=st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]),
    name=st.sampled_from(["power_w", "import_wh"]),
    absent=st.sampled_from([(), (0,), (0x7FC0_0000,), (0xFFFF_FFFF,)]),
)
def test_one_value_of_any_type_scale_sign_and_order_decodes_to_the_same_integer(
    octets: bytes, kind: str, scale: tuple[int, int], sign: int, order: str, name: str, absent: tuple[int, ...]
) -> None:
    point = Point(name, 3, 1, kind, scale, sign, word_order=order, absent=absent)
    image = RegisterImage()
    image.put(3, 0, [int.from_bytes(octets[i : i + 2], "big") for i in range(0, 8, 2)] + [0, 0])
    decoder = Decoder([point], [Request(3, 0, 6)])
    assert decoder.values([octets + b"\0\0\0\0"]) == decode(placed("eastron_sdm630"), image, [point])


def test_a_point_that_no_request_covers_is_left_out() -> None:
    point = Point("power_w", 3, 100, "int16")
    assert Decoder([point], [Request(3, 0, 6), Request(4, 90, 20)]).values([bytes(12), bytes(40)]) == {}

"""Every lie of an operator is caught: the auditor names it and offers the call, and the courts grant that call."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest

from contracts.evidence import Lie
from tests.contracts.court import Court
from tests.contracts.lies import FAULTS, LIES, NIGHTLY, scenes
from tests.contracts.retelling import Scene, Told

TELLINGS = 3
"""In the quick run each lie is told so often, each time in another header."""
HEADERS = 24
"""In the slow run each lie is told in so many headers; every night at every slot of all."""


def caught_by(scene: Scene, told: Told) -> tuple[Court, list[tuple[Lie, int]]]:
    """What the courts say to every call that the auditor offers. Raises Refused for one that would not win."""
    court = scene.court(told.posting)
    return court, [court.verdict(finding.call) for finding in scene.audited(told.posting) if finding.call]


def check(scene: Scene, told: Told) -> None:
    court, verdicts = caught_by(scene, told)
    if told.refutation is not None:
        assert court.verdict(told.refutation) == (told.reason, told.fault)
    if not told.silent:
        assert (told.reason, told.fault) in verdicts


def tellings(name: str, at_each: int | None) -> Iterator[tuple[Scene, Told]]:
    """So many tellings of a lie in each header, in an order that its name decides."""
    places = scenes()
    random.Random(name).shuffle(places)
    for scene in places:
        for told in islice(LIES[name](scene), at_each):
            yield scene, told


@pytest.mark.parametrize("name", LIES)
def test_every_lie_is_caught(name: str) -> None:
    told = list(islice(tellings(name, 1), TELLINGS))
    assert told, "no header gives room for it"
    for scene, lie in told:
        check(scene, lie)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIES)
def test_every_lie_is_caught_in_many_headers(name: str) -> None:
    count = 0
    every = tellings(name, None) if NIGHTLY else islice(tellings(name, 1), HEADERS)
    for scene, lie in every:
        check(scene, lie)
        count += 1
    assert count


def test_no_way_of_being_wrong_is_left_without_a_lie() -> None:
    met: dict[Lie, set[int]] = {reason: set() for reason in FAULTS}
    for name in LIES:
        for _, told in islice(tellings(name, 1), 1):
            met[told.reason].add(told.fault)
    assert met == {reason: set(range(1, count + 1)) for reason, count in FAULTS.items()}
    assert set(FAULTS) == set(Lie) - {Lie.WITHHELD}


def test_the_honest_headers_are_found_honest() -> None:
    for scene in scenes():
        assert scene.audited(scene.posting) == []

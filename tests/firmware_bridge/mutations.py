"""Damage to byte streams, by seed: flips, cuts, insertions, duplications, swaps and splices, and random chunks."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def _flip(raw: bytearray, random: Random) -> None:
    raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def _overwrite(raw: bytearray, random: Random) -> None:
    raw[random.randrange(len(raw))] = random.randrange(256)


def _digit(raw: bytearray, random: Random) -> None:
    """The nastiest: another character of the same kind."""
    raw[random.randrange(len(raw))] = random.choice(b"0123456789.()*!/\r\n\x00\x01\x02\x03\x1a\x1b")


def _cut(raw: bytearray, random: Random) -> None:
    begin = random.randrange(len(raw))
    del raw[begin : begin + random.choice((1, 1, 2, 8, 64, len(raw)))]


def _insert(raw: bytearray, random: Random) -> None:
    at = random.randrange(len(raw))
    raw[at:at] = random.randbytes(random.choice((1, 1, 2, 8, 64)))


def _duplicate(raw: bytearray, random: Random) -> None:
    begin = random.randrange(len(raw))
    raw[begin:begin] = raw[begin : begin + random.choice((1, 2, 8, 64, len(raw)))]


def _swap(raw: bytearray, random: Random) -> None:
    one, other = random.randrange(len(raw)), random.randrange(len(raw))
    raw[one], raw[other] = raw[other], raw[one]


DAMAGES = (_flip, _overwrite, _digit, _cut, _insert, _duplicate, _swap)


def damaged(raw: bytes, others: tuple[bytes, ...], random: Random) -> bytes:
    """`raw` with one to four damages; now and then its tail or its head is another telegram's."""
    found = bytearray(raw)
    if random.random() < 0.1:
        other = random.choice(others)
        found[random.randrange(len(found)) :] = other[random.randrange(len(other)) :]
    for _ in range(random.choice((1, 1, 2, 4))):
        if found:
            random.choice(DAMAGES)(found, random)
    return bytes(found)


def chunks(raw: bytes, random: Random) -> Iterator[bytes]:
    """`raw` in pieces of one byte up to all of it."""
    most = random.choice((1, 16, 64, 256, 4096))
    at = 0
    while at < len(raw):
        step = random.randint(1, most)
        yield raw[at : at + step]
        at += step

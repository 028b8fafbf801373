"""The C core makes the same bytes as independent implementations, and survives what the wire may bring."""

from __future__ import annotations

import hmac
import os
import random
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.checksum import crc32c
from firmware_bridge.cobs import FrameReader, cobs_decode, cobs_encode, wrap_frame
from firmware_bridge.node_messages import (
    Down,
    SetPoint,
    UpdateStep,
    ack_body,
    chunk_body,
    command_body,
    envelope_body,
    seal_down,
    step_body,
    time_body,
)
from firmware_bridge.node_signature import is_signed, link_key_of, node_signer_of, public_key_of
from tests.firmware_bridge.reference_node import MAKER_KEYS, build, envelope_of

NIGHTLY = os.environ.get("NIGHTLY") == "1"
SIGNATURES = 2_000 if NIGHTLY else 60
FRAMES = 100_000 if NIGHTLY else 10_000
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
EDGES = [1, 2, 3, ORDER // 2, ORDER // 2 + 1, ORDER - 2, ORDER - 1, 2**128, 2**255 - 19]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("vectors", tmp_path_factory.mktemp("vectors"))


def asked(program: Path, questions: list[str]) -> list[str]:
    """The core's answers, one for each question; a sanitizer's finding fails."""
    done = subprocess.run([str(program)], input="\n".join(questions) + "\n", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = done.stdout.splitlines()
    assert len(answers) == len(questions)
    return answers


def pairs(count: int) -> list[tuple[bytes, bytes]]:
    """Keys and digests: every edge with every edge, and so many drawn ones."""
    draw = random.Random(7)
    edges = [number.to_bytes(32, "big") for number in EDGES]
    digests = [bytes(32), b"\xff" * 31 + b"\xfe", *edges]
    return [(key, digest) for key in edges[:4] for digest in digests] + [
        (draw.randbytes(32), draw.randbytes(32)) for _ in range(count)
    ]


def test_the_core_signs_byte_for_byte_like_libsecp256k1(vectors: Path) -> None:
    cases = [(key, digest) for key, digest in pairs(SIGNATURES) if int.from_bytes(digest, "big") < ORDER]
    answers = asked(vectors, [f"sign {key.hex()} {digest.hex()}" for key, digest in cases])
    expected = [PrivateKey(key).sign_recoverable(digest, hasher=None)[:64].hex() for key, digest in cases]
    assert answers == expected
    assert all(node_signer_of(key)(digest).hex() == text for (key, digest), text in zip(cases, expected, strict=True))


def test_public_and_shared_keys_are_those_of_libsecp256k1(vectors: Path) -> None:
    cases = pairs(SIGNATURES // 2)[-SIGNATURES // 2 :]
    others = [public_key_of(digest) for _, digest in cases]
    public = asked(vectors, [f"public {key.hex()}" for key, _ in cases])
    assert public == [PrivateKey(key).public_key.format(compressed=False)[1:].hex() for key, _ in cases]
    shared = asked(
        vectors, [f"shared {key.hex()} {other.hex()}" for (key, _), other in zip(cases, others, strict=True)]
    )
    assert shared == [link_key_of(key, other).hex() for (key, _), other in zip(cases, others, strict=True)]


def test_verification_takes_what_is_right_and_nothing_else(vectors: Path) -> None:
    draw = random.Random(11)
    questions, expected = [], []
    for key, digest in pairs(SIGNATURES):
        signature = node_signer_of(key)(digest)
        r, s = signature[:32], int.from_bytes(signature[32:], "big")
        public = public_key_of(key)
        flipped = bytearray(public + digest + signature)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        for triple in (
            (public, digest, signature),
            (public, digest, r + (ORDER - s).to_bytes(32, "big")),
            (public, digest, bytes(32) + signature[32:]),
            (public, digest, r + bytes(32)),
            (public, digest, r + ORDER.to_bytes(32, "big")),
            (bytes(64), digest, signature),
            (bytes(flipped[:64]), bytes(flipped[64:96]), bytes(flipped[96:])),
        ):
            questions.append("verify " + " ".join(part.hex() for part in triple))
            expected.append(str(int(is_signed(triple[1], triple[2], triple[0]))))
    assert asked(vectors, questions) == expected
    assert expected[0] == "1" and expected.count("1") == len(pairs(SIGNATURES))


def test_no_key_outside_the_order_signs(vectors: Path) -> None:
    outside = [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32]
    assert asked(vectors, [f"sign {key.hex()} {bytes(32).hex()}" for key in outside]) == ["", "", ""]


def test_hashes_and_checksums_are_the_standard_ones(vectors: Path) -> None:
    assert crc32c(b"123456789") == 0xE3069283
    draw = random.Random(3)
    texts = [draw.randbytes(count) for count in (1, 9, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 300)]
    questions = [f"sha {text.hex()}" for text in texts] + [f"crc {text.hex()}" for text in texts]
    expected = [sha256(text).hexdigest() for text in texts] + [f"{crc32c(text):08x}" for text in texts]
    questions += [f"hmac {text[:32].hex()} {text.hex()}" for text in texts]
    expected += [hmac.digest(text[:32], text, "sha256").hex() for text in texts]
    assert asked(vectors, questions) == expected


def test_both_sides_frame_alike_at_every_length(vectors: Path) -> None:
    draw = random.Random(5)
    texts = [bytes(draw.choices((0, 1, 255), (1, 6, 3), k=count)) for count in range(1, 505, 7)]
    texts += [b"\x01" * count for count in (253, 254, 255, 256, 508)] + [bytes(count) for count in (1, 254, 508)]
    answers = asked(vectors, [f"encode {text.hex()}" for text in texts])
    assert answers == [cobs_encode(text).hex() for text in texts]
    assert asked(vectors, [f"decode {text}" for text in answers]) == [text.hex() for text in texts]


@given(st.binary(max_size=504))
def test_a_frame_comes_back_from_the_wire_as_it_was(raw: bytes) -> None:
    encoded = cobs_encode(raw)
    assert 0 not in encoded and cobs_decode(encoded) == raw
    from collections import Counter

    reader = FrameReader(Counter())
    wire = wrap_frame(raw)
    assert len(wire) <= 512
    assert reader.feed(b"\x05\x00" + wire) == ([raw] if raw else [])


def corpus() -> list[bytes]:
    """One frame of every kind as the gateway makes them, without tag."""
    envelope = envelope_of(bytes(600), 3, MAKER_KEYS[:1])
    bodies = [
        (Down.TIME, time_body(1_700_000_000_000, "S")),
        (Down.ACK, ack_body(1)),
        (Down.CMD, command_body(7, SetPoint.POWER_W, 500, 1000, 60_000)),
        (Down.UPDATE, step_body(UpdateStep.QUERY)),
        (Down.UPDATE, envelope_body(0, len(envelope), envelope)),
        (Down.UPDATE, chunk_body(0, bytes(256))),
        (Down.UPDATE, chunk_body(256, bytes(256))),
        (Down.UPDATE, chunk_body(512, bytes(88))),
        *((Down.UPDATE, chunk_body(600, bytes(count))) for count in (30, 8, 5, 2, 1, 1)),
        (Down.UPDATE, step_body(UpdateStep.COMPLETE)),
        (Down.UPDATE, step_body(UpdateStep.SWITCH)),
        (Down.UPDATE, step_body(UpdateStep.ROLLBACK)),
    ]
    return [seal_down(kind, 1, 1, body, bytes(32))[:-16] for kind, body in bodies]


def test_mutated_frames_never_harm_the_node(vectors: Path) -> None:
    questions = [f"signer {public_key_of(MAKER_KEYS[0]).hex()}"]
    questions += [f"frame {frame.hex()}" for frame in corpus()] + [f"fuzz {seed} {FRAMES // 2}" for seed in (1, 2)]
    rows = [[int(number) for number in answer.split()] for answer in asked(vectors, questions)[-2:]]
    refused, applied, restarts, sent = (sum(column) for column in zip(*rows, strict=True))
    assert FRAMES // 5 < refused < FRAMES, "some frames are whole, and not all of them are"
    assert applied > 50 and restarts > 1 and sent > 500, f"not every layer was reached: {rows}"

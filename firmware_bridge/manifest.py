"""What an update is and who vouches for it: manifest, envelope of signatures, and the reasons to refuse one.

After the ideas of SUIT (RFC 9019 architecture, RFC 9124 information model), with fixed little-endian fields instead
of CBOR, so that a node of 32 kB reads it in place. Vendor and class are UUIDs of version 5, as SUIT recommends:
``vendor_id = uuid5(DNS, domain)``, ``class_id = uuid5(vendor_id, model)``.

    envelope = manifest (132 bytes) ‖ count ‖ count × (key id 8 ‖ signature 64), key ids rising
    signed   = SHA-256("energy-grid/update/1" ‖ manifest)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1, sha256
from itertools import pairwise

from firmware_bridge.node_signature import KEY_ID_BYTES, SIGNATURE_BYTES, NodeSigner, is_signed, key_id

_LAYOUT = struct.Struct("<4s16s16s16sQQQIB3x32s16s")
_MAGIC = b"EGM1"
_DOMAIN = b"energy-grid/update/1"
_BLOCK_BYTES = KEY_ID_BYTES + SIGNATURE_BYTES
MANIFEST_BYTES = _LAYOUT.size
SIGNERS_LIMIT = 8
"""Eight signatures fill 709 bytes; a node keeps an envelope in 1 kB of RAM."""
ENVELOPE_LIMIT_BYTES = MANIFEST_BYTES + 1 + SIGNERS_LIMIT * _BLOCK_BYTES
ANY_DEVICE = bytes(16)
_DNS_NAMESPACE = bytes.fromhex("6ba7b8109dad11d180b400c04fd430c8")


class UpdateRefusal(IntEnum):
    """Why an update is not taken, in the order in which it is looked for; the numbers stand on the wire."""

    MALFORMED = 1
    WRONG_VENDOR = 2
    WRONG_CLASS = 3
    WRONG_DEVICE = 4
    OLD_SEQUENCE = 5
    WRONG_PRECURSOR = 6
    OVERSIZED = 7
    CLOCK_UNKNOWN = 8
    EXPIRED = 9
    UNKNOWN_SIGNER = 10
    TOO_FEW_SIGNERS = 11
    BAD_SIGNATURE = 12
    WRONG_STAGE = 13
    WRONG_OFFSET = 14
    WRONG_SIZE = 15
    WRONG_DIGEST = 16
    STORAGE_FAILED = 17


class Payload(IntEnum):
    """What the bytes behind the manifest are."""

    FIRMWARE = 0
    WHEELS = 1
    ZIPAPP = 2


class LocalManifestError(ValueError):
    """A manifest was built with illegal values: the caller's mistake."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One update: for whom, which, and how its bytes are recognised.

    ``sequence`` only rises; ``from_sequence`` is the lowest installed one it may follow (0: any).
    ``device_id`` is one device, or ANY_DEVICE. ``expires_at_s`` is UTC; after it nobody installs it any more.
    """

    vendor_id: bytes
    class_id: bytes
    sequence: int
    expires_at_s: int
    size: int
    digest: bytes
    version: str
    payload: Payload = Payload.FIRMWARE
    from_sequence: int = 0
    device_id: bytes = ANY_DEVICE

    def __post_init__(self) -> None:
        if any(len(name) != 16 for name in (self.vendor_id, self.class_id, self.device_id)) or len(self.digest) != 32:
            raise LocalManifestError("ids have 16 bytes and a digest has 32")
        if not 0 < self.sequence < 2**63 or not 0 <= self.from_sequence < 2**63 or not 0 < self.expires_at_s < 2**63:
            raise LocalManifestError("sequence and expiry are positive and below 2^63")
        if not 0 < self.size < 2**32:
            raise LocalManifestError(f"a size of {self.size} bytes is not from 1 to 2^32 - 1")
        if not self.version.isascii() or not self.version.isprintable() or not 0 < len(self.version) <= 16:
            raise LocalManifestError("a version is 1 to 16 printable ASCII characters")

    def pack(self) -> bytes:
        """Canonical bytes: 132."""
        return _LAYOUT.pack(
            _MAGIC,
            self.vendor_id,
            self.class_id,
            self.device_id,
            self.sequence,
            self.from_sequence,
            self.expires_at_s,
            self.size,
            self.payload,
            self.digest,
            self.version.encode(),
        )

    @property
    def signed_digest(self) -> bytes:
        """What signers sign: 32 bytes."""
        return sha256(_DOMAIN + self.pack()).digest()


@dataclass(frozen=True, slots=True)
class Trust:
    """What a device believes: who it is, how many of which signers (64-byte public keys), and its slot's size."""

    vendor_id: bytes
    class_id: bytes
    signers: tuple[bytes, ...]
    threshold: int
    capacity_bytes: int
    device_id: bytes = ANY_DEVICE

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(set(self.signers)) or len(self.signers) > SIGNERS_LIMIT:
            raise LocalManifestError(f"{self.threshold} of {len(set(self.signers))} signers is no threshold")


def vendor_id_of(domain: str) -> bytes:
    """UUID version 5 of a vendor's domain name."""
    return _uuid5(_DNS_NAMESPACE, domain)


def class_id_of(vendor_id: bytes, model: str) -> bytes:
    """UUID version 5 of a model of that vendor."""
    return _uuid5(vendor_id, model)


def _uuid5(namespace: bytes, name: str) -> bytes:
    digest = bytearray(sha1(namespace + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def sign_manifest(manifest: Manifest, signers: Mapping[bytes, NodeSigner]) -> bytes:
    """The envelope of ``manifest``; ``signers`` by their 64-byte public keys. Raises LocalManifestError."""
    if not 1 <= len(signers) <= SIGNERS_LIMIT:
        raise LocalManifestError(f"an envelope has 1 to {SIGNERS_LIMIT} signers")
    blocks = sorted(key_id(public_key) + sign(manifest.signed_digest) for public_key, sign in signers.items())
    return manifest.pack() + bytes([len(blocks)]) + b"".join(blocks)


def countersign(envelope: bytes, public_key: bytes, sign: NodeSigner) -> bytes:
    """``envelope`` with one signature more, or the same signer's anew. Raises LocalManifestError."""
    opened = split_envelope(envelope)
    if opened is None:
        raise LocalManifestError("these bytes are no envelope")
    manifest, blocks = opened
    rows = dict(blocks) | {key_id(public_key): sign(manifest.signed_digest)}
    if len(rows) > SIGNERS_LIMIT:
        raise LocalManifestError(f"an envelope has at most {SIGNERS_LIMIT} signers")
    return manifest.pack() + bytes([len(rows)]) + b"".join(name + rows[name] for name in sorted(rows))


def pack_bundle(envelope: bytes, image: bytes) -> bytes:
    """One file of envelope and image: length of the envelope (2 bytes), envelope, image."""
    return len(envelope).to_bytes(2, "little") + envelope + image


def split_bundle(bundle: bytes) -> tuple[bytes, bytes]:
    """Envelope and image as they were packed, unjudged; short bytes give short parts."""
    count = int.from_bytes(bundle[:2], "little")
    return bundle[2 : 2 + count], bundle[2 + count :]


def read_manifest(packed: bytes) -> Manifest | None:
    """The manifest of exactly these bytes; None for any others. ``pack`` gives the bytes back."""
    if len(packed) != MANIFEST_BYTES:
        return None
    magic, vendor_id, class_id, device_id, sequence, precursor, expires_at_s, size, payload, digest, version = (
        _LAYOUT.unpack(packed)
    )
    try:
        manifest = Manifest(
            vendor_id,
            class_id,
            sequence,
            expires_at_s,
            size,
            digest,
            version.rstrip(b"\0").decode("ascii"),
            Payload(payload),
            precursor,
            device_id,
        )
    except ValueError:
        return None
    return manifest if magic == _MAGIC and manifest.pack() == packed else None


def split_envelope(envelope: bytes) -> tuple[Manifest, Sequence[tuple[bytes, bytes]]] | None:
    """Manifest and (key id, signature) pairs; None for bytes that are no envelope, trailing ones included."""
    blocks = envelope[MANIFEST_BYTES + 1 :]
    manifest = read_manifest(envelope[:MANIFEST_BYTES])
    count = envelope[MANIFEST_BYTES] if len(envelope) > MANIFEST_BYTES else 0
    if manifest is None or not 1 <= count <= SIGNERS_LIMIT or len(blocks) != count * _BLOCK_BYTES:
        return None
    rows = [blocks[at : at + _BLOCK_BYTES] for at in range(0, len(blocks), _BLOCK_BYTES)]
    names = [row[:KEY_ID_BYTES] for row in rows]
    if any(left >= right for left, right in pairwise(names)):
        return None
    return manifest, [(row[:KEY_ID_BYTES], row[KEY_ID_BYTES:]) for row in rows]


def judge(envelope: bytes, trust: Trust, installed: int, now_s: int | None) -> Manifest | UpdateRefusal:
    """The manifest where a device of this ``trust`` with the sequence ``installed`` may take it, or why not.

    ``now_s`` is None where the device has no time yet: then nothing can be judged unexpired. The expensive question,
    who signed it, comes last; one unknown signer refuses the whole envelope.
    """
    opened = split_envelope(envelope)
    if opened is None:
        return UpdateRefusal.MALFORMED
    manifest, blocks = opened
    for wrong, refusal in (
        (manifest.vendor_id != trust.vendor_id, UpdateRefusal.WRONG_VENDOR),
        (manifest.class_id != trust.class_id, UpdateRefusal.WRONG_CLASS),
        (manifest.device_id not in (ANY_DEVICE, trust.device_id), UpdateRefusal.WRONG_DEVICE),
        (manifest.sequence <= installed, UpdateRefusal.OLD_SEQUENCE),
        (manifest.from_sequence > installed, UpdateRefusal.WRONG_PRECURSOR),
        (manifest.size > trust.capacity_bytes, UpdateRefusal.OVERSIZED),
        (now_s is None, UpdateRefusal.CLOCK_UNKNOWN),
        (now_s is not None and now_s >= manifest.expires_at_s, UpdateRefusal.EXPIRED),
    ):
        if wrong:
            return refusal
    return _signed_refusal(manifest, blocks, trust) or manifest


def _signed_refusal(manifest: Manifest, blocks: Sequence[tuple[bytes, bytes]], trust: Trust) -> UpdateRefusal | None:
    known = {key_id(public_key): public_key for public_key in trust.signers}
    if any(name not in known for name, _ in blocks):
        return UpdateRefusal.UNKNOWN_SIGNER
    if len(blocks) < trust.threshold:
        return UpdateRefusal.TOO_FEW_SIGNERS
    if not all(is_signed(manifest.signed_digest, signature, known[name]) for name, signature in blocks):
        return UpdateRefusal.BAD_SIGNATURE
    return None

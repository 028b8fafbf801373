"""One verification per signature and one signing per digest within a run: both are pure functions of their arguments.

A world verifies the same bytes many times over — at the border, in the replay, in every auditor — and the elliptic
curve is most of its time. Inside ``remembered_signatures`` the second time is a look-up. Real parties never do this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from contracts import signature as curve
from contracts.signature import SignatureRefusal, Signer


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Recovers every (digest, signature) once; forgets all of it at the end."""
    original = curve.recover
    known: dict[tuple[bytes, bytes], bytes | SignatureRefusal] = {}

    def recover(digest: bytes, signature: bytes) -> bytes | SignatureRefusal:
        found = known.get((digest, signature))
        if found is None:
            found = known[digest, signature] = original(digest, signature)
        return found

    curve.recover = recover
    try:
        yield
    finally:
        curve.recover = original


def remembering(sign: Signer) -> Signer:
    """The same signer, which signs every digest once."""
    known: dict[bytes, bytes] = {}

    def remembered(digest: bytes) -> bytes:
        found = known.get(digest)
        if found is None:
            found = known[digest] = sign(digest)
        return found

    return remembered

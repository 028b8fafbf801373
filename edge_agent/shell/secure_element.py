"""A secure element as `key attest` uses it: it tells its public key and signs one digest. The running agent needs none.

A chip (TPM, ATECC, smart card) is attached by a program of its maker's tools, so that no driver lives here:

    PROGRAM public-key                             → 128 hexadecimal digits, x ‖ y
    PROGRAM sign       ← 64 digits of a digest     → 128 hexadecimal digits, r ‖ s over exactly that digest

Digits go in on stdin and come out on stdout, exit code 0; what the program says on stderr is shown as it is.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from contracts.p256 import LocalKeyError, public_key_of, sign, with_low_s
from edge_agent.shell.key_store import KeyFileError, private_text

ANSWER_LIMIT_S = 30.0
"""A chip answers in a second, a person who is asked to touch it in half a minute."""
ANSWER_LIMIT_BYTES = 256
"""Twice the digits of an answer; a program that says more is stopped."""
_ANSWER = re.compile(rb"[0-9a-fA-F]{128}\r?\n?")
_PEM = re.compile(r"-----BEGIN (EC )?PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END (EC )?PRIVATE KEY-----")
_SECRET_MARK = bytes.fromhex("0201010420")
"""DER of SEC 1: version 1, then an octet string of 32 bytes, inside PKCS 8 as well."""
_CURVE_MARK = bytes.fromhex("06082a8648ce3d030107")
"""DER of the name prime256v1."""


class ElementError(Exception):
    """The element is missing, silent, or answers something else than was agreed."""


class SecureElement(Protocol):
    """A P-256 key that does not leave its place."""

    def public_key(self) -> tuple[bytes, bytes]:
        """Coordinates of 32 bytes. Raises ElementError."""

    def sign(self, digest: bytes) -> bytes:
        """64 bytes ``r ‖ s`` with low s over a digest of 32 bytes. Raises ElementError."""


class SoftwareElement:
    """A key in a file (0600), for trials: whoever copies the disk has the element."""

    def __init__(self, path: Path) -> None:
        """Unencrypted PEM (SEC 1 or PKCS 8), or 64 hexadecimal digits. Raises ElementError."""
        try:
            self._key = _secret_of(private_text(path))
            self._public_key = public_key_of(self._key)
        except KeyFileError as error:
            raise ElementError(str(error)) from error
        except (ValueError, LocalKeyError) as error:
            raise ElementError(f"{path}: holds no private key of P-256: {error}") from error

    def public_key(self) -> tuple[bytes, bytes]:
        """Coordinates of 32 bytes."""
        return self._public_key

    def sign(self, digest: bytes) -> bytes:
        """64 bytes with low s."""
        return sign(self._key, digest)


class CommandElement:
    """Whatever stands behind a program."""

    def __init__(self, command: tuple[str, ...], limit_s: float = ANSWER_LIMIT_S) -> None:
        self._command = command
        self._limit_s = limit_s

    def public_key(self) -> tuple[bytes, bytes]:
        """What the program says to `public-key`."""
        answer = self._ask("public-key", b"")
        return answer[:32], answer[32:]

    def sign(self, digest: bytes) -> bytes:
        """What the program says to `sign`, turned to low s: most chips give either."""
        return with_low_s(self._ask("sign", digest.hex().encode() + b"\n"))

    def _ask(self, word: str, question: bytes) -> bytes:
        try:
            process = subprocess.Popen(
                [*self._command, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise ElementError(f"{self._command[0]}: cannot be started: {error}") from error
        try:
            answer = _exchange(process, question, time.monotonic() + self._limit_s)
        finally:
            if process.returncode is None:  # not waited for yet, so the number is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        where = f"{' '.join(self._command)} {word}"
        if answer is None:
            raise ElementError(f"{where}: no answer within {self._limit_s:g} s")
        if process.returncode:
            raise ElementError(f"{where}: ended with exit code {process.returncode}")
        if not _ANSWER.fullmatch(answer):
            raise ElementError(f"{where}: its answer is not 128 hexadecimal digits")
        return bytes.fromhex(answer.decode().strip())


def _exchange(process: subprocess.Popen[bytes], question: bytes, ends_at_s: float) -> bytes | None:
    """The answer up to a little more than an answer has, once the program has ended; None after the time."""
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as there, contextlib.suppress(BrokenPipeError):  # a question fits into any pipe
        there.write(question)
        there.flush()
    answer = b""
    with selectors.DefaultSelector() as selector, process.stdout as back:
        selector.register(back, selectors.EVENT_READ)
        while len(answer) <= ANSWER_LIMIT_BYTES:
            if not selector.select(max(0.0, ends_at_s - time.monotonic())):
                return None
            part = os.read(back.fileno(), ANSWER_LIMIT_BYTES)
            if not part:
                break
            answer += part
        else:
            return answer
    try:
        process.wait(max(0.0, ends_at_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    return answer


def _secret_of(text: str) -> bytes:
    found = _PEM.search(text)
    if found is None:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    der = base64.b64decode(found[2])
    place = der.find(_SECRET_MARK)
    if _CURVE_MARK not in der or place < 0:
        raise ValueError("the PEM text is not of the curve prime256v1")
    start = place + len(_SECRET_MARK)
    return der[start : start + 32]

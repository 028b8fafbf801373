"""Keystore version 3, the encrypted key file of Ethereum wallets, without a library: the agent on a gateway has none.

    password -> scrypt or PBKDF2 (hashlib) -> 32 bytes: the first 16 decrypt (AES-128-CTR), the last 16 authenticate

Sources: Web3 Secret Storage Definition, version 3; AES after FIPS 197. A key is two blocks, so plain Python does;
its timing tells nothing to anybody, for it runs once at the start on the machine that holds password and key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from contracts.eip712 import keccak

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 15, 8, 3
"""What we write: 32 MB and a second on a small gateway."""
READ_LIMIT_BYTES = 1 << 30
"""What a person may wait for; other wallets write up to 256 MB."""
ROUNDS_LIMIT = 10_000_000
_FILE_LIMIT_CHARACTERS = 16_384


class RemoteKeystoreError(Exception):
    """The text is no keystore of version 3, asks too much, or the password is wrong."""


def decrypt(text: str, password: str, limit_bytes: int = READ_LIMIT_BYTES) -> bytes:
    """The 32 bytes in keystore JSON, deriving with at most ``limit_bytes`` of memory. Raises RemoteKeystoreError."""
    try:
        crypto = _crypto_of(text)
        derived = _derive(crypto, password, limit_bytes)
        secret = bytes.fromhex(crypto["ciphertext"])
        nonce = bytes.fromhex(crypto["cipherparams"]["iv"])
        expected = bytes.fromhex(crypto["mac"])
        if crypto["cipher"] != "aes-128-ctr" or len(secret) != 32 or len(nonce) != 16:
            raise RemoteKeystoreError("not a key of 32 bytes under aes-128-ctr")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError, OverflowError) as error:
        raise RemoteKeystoreError(f"not a keystore of version 3: {error}") from error
    if not hmac.compare_digest(keccak(derived[16:32] + secret), expected):
        raise RemoteKeystoreError("the password is wrong, or the file is damaged")
    return _ctr(derived[:16], nonce, secret)


def encrypt(key: bytes, password: str, salt: bytes, nonce: bytes, identity: str, address: str) -> str:
    """Keystore JSON of a 32-byte key. ``salt`` 32 and ``nonce`` 16 random bytes, ``identity`` a random UUID's text."""
    parameters = {"dklen": 32, "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()}
    crypto: dict[str, Any] = {"kdf": "scrypt", "kdfparams": parameters}
    derived = _derive(crypto, password, READ_LIMIT_BYTES)
    secret = _ctr(derived[:16], nonce, key)
    crypto |= {"cipher": "aes-128-ctr", "cipherparams": {"iv": nonce.hex()}, "ciphertext": secret.hex()}
    crypto["mac"] = keccak(derived[16:32] + secret).hex()
    return json.dumps({"version": 3, "id": identity, "address": address.removeprefix("0x"), "crypto": crypto})


def _crypto_of(text: str) -> dict[str, Any]:
    if len(text) > _FILE_LIMIT_CHARACTERS:
        raise RemoteKeystoreError("longer than any keystore")
    document = {str(name).lower(): value for name, value in json.loads(text).items()}
    if document.get("version") != 3:
        raise RemoteKeystoreError("not a keystore of version 3")
    crypto = document["crypto"]
    if not isinstance(crypto, dict):
        raise RemoteKeystoreError("not a keystore of version 3")
    return crypto


def _derive(crypto: dict[str, Any], password: str, limit_bytes: int) -> bytes:
    parameters, secret = crypto["kdfparams"], password.encode()
    salt, length = bytes.fromhex(parameters["salt"]), parameters["dklen"]
    if length != 32:
        raise RemoteKeystoreError("derives other than 32 bytes")
    if crypto["kdf"] == "scrypt":
        n, r, p = int(parameters["n"]), int(parameters["r"]), int(parameters["p"])
        needed = 128 * r * (n + p + 2)
        if not 1 < n <= 1 << 24 or not 0 < r <= 64 or not 0 < p <= 64:
            raise RemoteKeystoreError("parameters of scrypt out of range")
        if needed > limit_bytes:
            raise RemoteKeystoreError(f"needs {needed >> 20} MB to open, {limit_bytes >> 20} MB are allowed here")
        return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=needed + (1 << 20), dklen=32)
    if crypto["kdf"] == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        rounds = int(parameters["c"])
        if not 0 < rounds <= ROUNDS_LIMIT:
            raise RemoteKeystoreError("rounds of PBKDF2 out of range")
        return hashlib.pbkdf2_hmac("sha256", secret, salt, rounds, 32)
    raise RemoteKeystoreError("derives its key in a way we do not know")


def _ctr(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """AES-128 in counter mode; the nonce is the first counter, big-endian."""
    schedule, first, stream = _schedule(key), int.from_bytes(nonce, "big"), bytearray()
    for place in range(-(-len(text) // 16)):
        stream += _block(schedule, ((first + place) % (1 << 128)).to_bytes(16, "big"))
    return bytes(a ^ b for a, b in zip(text, stream, strict=False))


def _doubled(value: int) -> int:
    return (value << 1 ^ (0x11B if value & 0x80 else 0)) & 0xFF


def _substitution() -> bytes:
    """The S-box: the inverse in GF(2^8), then the affine map (FIPS 197, 5.1.1)."""
    powers = [1]
    for _ in range(254):
        powers.append(powers[-1] ^ _doubled(powers[-1]))  # 3 generates the field
    inverse = [0] * 256
    for exponent, value in enumerate(powers):
        inverse[value] = powers[-exponent % 255]
    box = bytearray()
    for value in inverse:
        turned = value
        for shift in range(1, 5):
            turned ^= (value << shift | value >> (8 - shift)) & 0xFF
        box.append(turned ^ 0x63)
    return bytes(box)


_BOX = _substitution()


def _schedule(key: bytes) -> list[bytes]:
    """Eleven round keys (FIPS 197, 5.2)."""
    words, constant = [key[place : place + 4] for place in range(0, 16, 4)], 1
    for place in range(4, 44):
        word = words[-1]
        if place % 4 == 0:
            word = bytes(_BOX[b] for b in word[1:] + word[:1])
            word = bytes((word[0] ^ constant,)) + word[1:]
            constant = _doubled(constant)
        words.append(bytes(a ^ b for a, b in zip(words[-4], word, strict=True)))
    return [b"".join(words[place : place + 4]) for place in range(0, 44, 4)]


def _block(schedule: list[bytes], block: bytes) -> bytes:
    """One block enciphered (FIPS 197, 5.1)."""
    state = bytes(a ^ b for a, b in zip(block, schedule[0], strict=True))
    for turn, round_key in enumerate(schedule[1:], 1):
        state = bytes(_BOX[state[(place + 4 * (place % 4)) % 16]] for place in range(16))
        if turn < 10:
            state = b"".join(_mixed(state[place : place + 4]) for place in range(0, 16, 4))
        state = bytes(a ^ b for a, b in zip(state, round_key, strict=True))
    return state


def _mixed(column: bytes) -> bytes:
    whole = column[0] ^ column[1] ^ column[2] ^ column[3]
    return bytes(column[i] ^ whole ^ _doubled(column[i] ^ column[(i + 1) % 4]) for i in range(4))

"""A reporter's quote: the message that is signed, and its line of JSON on the way to whoever submits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from contracts.bounded_json import load_json
from contracts.eip712 import I128, U64, Domain, LocalValueError, Message, digest
from contracts.signature import SIGNATURE_BYTES, SignatureRefusal, Signer, recover

LINE_LIMIT_BYTES = 1_024
"""Four times the longest honest line."""


class OracleName(Enum):
    """The oracles, by the word in commands and lines; the value is the contract."""

    PRICE = "PriceOracle"
    WEATHER = "WeatherOracle"
    GRID = "GridOracle"

    @classmethod
    def of(cls, word: str) -> OracleName:
        """The oracle of that word. Raises LocalValueError."""
        try:
            return cls[word.upper()]
        except KeyError as error:
            raise LocalValueError(f"{word!r} is no oracle; there are {', '.join(cls.words())}") from error

    @classmethod
    def words(cls) -> list[str]:
        """All words."""
        return [oracle.name.lower() for oracle in cls]


UNITS = {OracleName.PRICE: "micro-currency per kWh", OracleName.WEATHER: "W", OracleName.GRID: "mHz"}
"""What the integers of each oracle count."""


@dataclass(frozen=True, slots=True)
class Quote(Message):
    """A value, and when it was observed (UTC seconds)."""

    SIGNED_BY: ClassVar[str] = "reporter"

    value: I128
    observed_at_s: U64


@dataclass(frozen=True, slots=True)
class SignedQuote:
    """A quote with its reporter's signature, for one oracle."""

    oracle: OracleName
    quote: Quote
    signature: bytes

    def reporter(self, domain: Domain) -> bytes | SignatureRefusal:
        """Who signed it for the oracle at ``domain``."""
        return recover(digest(self.quote, domain), self.signature)

    def line(self) -> dict[str, Any]:
        """Its JSON form."""
        return {"oracle": self.oracle.name.lower(), **self.quote.to_json(), "signature": "0x" + self.signature.hex()}


def sign_quote(oracle: OracleName, quote: Quote, domain: Domain, sign: Signer) -> SignedQuote:
    """``quote`` for the oracle at ``domain``, whose contract is the oracle's."""
    return SignedQuote(oracle, quote, sign(digest(quote, domain)))


def read_line(line: bytes) -> SignedQuote:
    """The signed quote on one line. Raises LocalValueError on anything else."""
    if len(line) > LINE_LIMIT_BYTES:
        raise LocalValueError(f"a quote has at most {LINE_LIMIT_BYTES} bytes")
    try:
        document = load_json(line)
    except ValueError as error:
        raise LocalValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or set(document) != {"oracle", "value", "observed_at_s", "signature"}:
        raise LocalValueError("a quote has exactly the fields oracle, value, observed_at_s, signature")
    signature = document["signature"]
    if not isinstance(signature, str) or len(signature) != 2 + 2 * SIGNATURE_BYTES or not signature.startswith("0x"):
        raise LocalValueError(f"a signature is {SIGNATURE_BYTES} bytes in 0x-hex")
    try:
        raw = bytes.fromhex(signature[2:])
    except ValueError as error:
        raise LocalValueError("a signature is hexadecimal") from error
    oracle = OracleName.of(str(document["oracle"]))
    quote = Quote.from_json({name: document[name] for name in ("value", "observed_at_s")})
    return SignedQuote(oracle, quote, raw)

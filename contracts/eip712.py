"""EIP-712 derived from one frozen dataclass per message.

The annotations of the dataclass are the single source: from them come the Solidity type string, the struct
hash, the digest, the fixed byte layout on the wire, the JSON form and the typed data a wallet shows.
Formulas: EIP-712 ``hashStruct(s) = keccak256(typeHash ‖ encodeData(s))``,
``digest = keccak256(0x1901 ‖ domainSeparator ‖ hashStruct(s))``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args, get_type_hints

from sha3 import keccak_256

WORD = 1 << 256


def keccak(preimage: bytes) -> bytes:
    """keccak-256 of ``preimage``: 32 bytes."""
    digest: bytes = keccak_256(preimage).digest()
    return digest


@dataclass(frozen=True, slots=True)
class SolidityType:
    """A value type of Solidity: ``name``, its ``width`` in bytes, and for integers the inclusive range."""

    name: str
    width: int
    low: int = 0
    high: int = 0

    @property
    def is_bytes(self) -> bool:
        """Whether Python holds the value as bytes of exactly ``width``."""
        return self.name in ("bytes32", "address")


def _uint(bits: int) -> SolidityType:
    return SolidityType(f"uint{bits}", bits // 8, 0, 2**bits - 1)


def _int(bits: int) -> SolidityType:
    return SolidityType(f"int{bits}", bits // 8, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


U8 = Annotated[int, _uint(8)]
U16 = Annotated[int, _uint(16)]
U32 = Annotated[int, _uint(32)]
U64 = Annotated[int, SolidityType("uint64", 8, 0, 2**63 - 1)]
"""Values of 64 bits stay below 2**63 here, so that databases and array code hold them exactly."""
U128 = Annotated[int, _uint(128)]
I32 = Annotated[int, _int(32)]
I64 = Annotated[int, _int(64)]
I128 = Annotated[int, _int(128)]
Bytes32 = Annotated[bytes, SolidityType("bytes32", 32)]
Address = Annotated[bytes, SolidityType("address", 20)]


class LocalValueError(ValueError):
    """A message was built with a value outside its type or its meaning: the caller's mistake."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What follows from a message class: its fields with types, type string, type hash and wire width."""

    columns: tuple[tuple[str, SolidityType], ...]
    type_string: str
    type_hash: bytes
    width: int


_layouts: dict[type, Layout] = {}


def layout(message_type: type[Message]) -> Layout:
    """The layout of ``message_type``, computed once."""
    found = _layouts.get(message_type)
    if found is None:
        found = _layouts[message_type] = _derive_layout(message_type)
    return found


def _derive_layout(message_type: type[Message]) -> Layout:
    hints = get_type_hints(message_type, include_extras=True)
    columns: list[tuple[str, SolidityType]] = []
    for field in fields(message_type):
        columns.append((field.name, get_args(hints[field.name])[1]))
    arguments = ",".join(f"{kind.name} {camel_case(name)}" for name, kind in columns)
    type_string = f"{message_type.__name__}({arguments})"
    width = sum(kind.width for _, kind in columns)
    return Layout(tuple(columns), type_string, keccak(type_string.encode()), width)


def camel_case(name: str) -> str:
    """A Python field name in Solidity's habit: ``limit_price`` becomes ``limitPrice``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


@dataclass(frozen=True, slots=True)
class Message:
    """Root of all messages: checked on construction, packed to fixed-layout bytes, hashed as EIP-712."""

    SIGNED_BY: ClassVar[str] = "nobody"

    def __post_init__(self) -> None:
        for name, kind in layout(type(self)).columns:
            value = getattr(self, name)
            if kind.is_bytes:
                if not isinstance(value, bytes) or len(value) != kind.width:
                    raise LocalValueError(f"{type(self).__name__}.{name} is not {kind.width} bytes")
            elif not isinstance(value, int) or isinstance(value, bool):
                raise LocalValueError(f"{type(self).__name__}.{name} is not an integer: {value!r}")
            elif not kind.low <= value <= kind.high:
                raise LocalValueError(f"{type(self).__name__}.{name} = {value} is outside {kind.name}")
        self.check()

    def check(self) -> None:
        """What the types cannot say. Raises LocalValueError."""

    def pack(self) -> bytes:
        """Canonical bytes: every field big-endian in its own width, in order."""
        return b"".join(
            getattr(self, name)
            if kind.is_bytes
            else getattr(self, name).to_bytes(kind.width, "big", signed=kind.low < 0)
            for name, kind in layout(type(self)).columns
        )

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The message with those canonical bytes. Raises LocalValueError on a wrong length or an illegal value."""
        plan = layout(cls)
        if len(packed) != plan.width:
            raise LocalValueError(f"{cls.__name__} has {plan.width} bytes, not {len(packed)}")
        values: list[int | bytes] = []
        at = 0
        for _, kind in plan.columns:
            part = packed[at : at + kind.width]
            values.append(bytes(part) if kind.is_bytes else int.from_bytes(part, "big", signed=kind.low < 0))
            at += kind.width
        return cls(*values)

    def struct_hash(self) -> bytes:
        """EIP-712 ``hashStruct``: 32 bytes."""
        plan = layout(type(self))
        words = [plan.type_hash]
        for name, kind in plan.columns:
            value = getattr(self, name)
            if kind.name == "bytes32":
                words.append(value)
            elif kind.name == "address":
                words.append(bytes(12) + value)
            else:
                words.append((value % WORD).to_bytes(32, "big"))
        return keccak(b"".join(words))

    def to_json(self) -> dict[str, int | str]:
        """JSON form: integers as integers (as decimal strings beyond 2**53), bytes as 0x-hex."""
        return {name: _json_value(getattr(self, name)) for name, _ in layout(type(self)).columns}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The message of that JSON form. Raises LocalValueError naming the first wrong field."""
        plan = layout(cls)
        if not isinstance(document, dict) or set(document) != {name for name, _ in plan.columns}:
            raise LocalValueError(f"{cls.__name__} has exactly the fields {[name for name, _ in plan.columns]}")
        return cls(**{name: _python_value(cls.__name__, name, kind, document[name]) for name, kind in plan.columns})


def _json_value(value: int | bytes) -> int | str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value if abs(value) < 2**53 else str(value)


def _python_value(owner: str, name: str, kind: SolidityType, value: object) -> int | bytes:
    try:
        if kind.is_bytes:
            if isinstance(value, str) and value.startswith("0x"):
                return bytes.fromhex(value[2:])
        elif isinstance(value, str) or type(value) is int:
            return int(value)
    except ValueError:
        pass
    raise LocalValueError(f"{owner}.{name} is not a {kind.name}: {value!r}")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: one chain, one settlement contract. A replay elsewhere recovers another key."""

    chain_id: int
    contract: bytes

    NAME: ClassVar[str] = "energy-grid"
    VERSION: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        if self.chain_id < 0 or len(self.contract) != 20:
            raise LocalValueError("a domain is a chain id and a contract address of 20 bytes")

    @property
    def separator(self) -> bytes:
        """EIP-712 domain separator: 32 bytes."""
        return _separator(self.chain_id, self.contract)


_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


@cache
def _separator(chain_id: int, contract: bytes) -> bytes:
    return keccak(
        keccak(_DOMAIN_TYPE)
        + keccak(Domain.NAME.encode())
        + keccak(Domain.VERSION.encode())
        + chain_id.to_bytes(32, "big")
        + bytes(12)
        + contract
    )


def digest(message: Message, domain: Domain) -> bytes:
    """What is signed: 32 bytes, equal to every wallet's and to the contract's."""
    return keccak(b"\x19\x01" + domain.separator + message.struct_hash())


def typed_data(message: Message, domain: Domain) -> dict[str, Any]:
    """The ``eth_signTypedData_v4`` document of ``message``: what a wallet shows and signs."""
    plan = layout(type(message))
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            type(message).__name__: [{"name": camel_case(n), "type": k.name} for n, k in plan.columns],
        },
        "primaryType": type(message).__name__,
        "domain": {
            "name": Domain.NAME,
            "version": Domain.VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.contract.hex(),
        },
        "message": {
            camel_case(n): ("0x" + getattr(message, n).hex() if k.is_bytes else getattr(message, n))
            for n, k in plan.columns
        },
    }

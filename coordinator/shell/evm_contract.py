"""A contract's interface in bytes: calls encoded once, outputs, events and errors decoded. No network in here."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from contracts.artifacts import load
from contracts.eip712 import keccak

Entry = dict[str, Any]


def canonical_type(parameter: Entry) -> str:
    """The type as it stands in signatures: structs spelled out."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(canonical_type(c) for c in parameter["components"]) + ")" + kind[len("tuple") :]


def signature(entry: Entry) -> str:
    """``name(type,type)`` of a function, event or error."""
    return f"{entry['name']}({','.join(canonical_type(i) for i in entry['inputs'])})"


class ContractInterface:
    """One contract's ABI by name, from the committed artifact."""

    def __init__(self, name: str) -> None:
        """Raises KeyError for a contract that is not in the artifact."""
        artifact = load(name)
        self.name = name
        self.bytecode = artifact.bytecode
        self._abi: list[Entry] = artifact.abi
        self._functions = {e["name"]: e for e in self._abi if e["type"] == "function"}
        self._events = {keccak(signature(e).encode()): e for e in self._abi if e["type"] == "event"}

    def selector(self, function: str) -> bytes:
        """The four bytes that choose ``function``."""
        return keccak(signature(self._functions[function]).encode())[:4]

    def call(self, function: str, *arguments: object) -> bytes:
        """The payload that calls ``function``."""
        inputs = self._functions[function]["inputs"]
        return self.selector(function) + encode([canonical_type(i) for i in inputs], arguments)

    def output(self, function: str, returned: bytes) -> tuple[Any, ...]:
        """The values that ``function`` returned. Raises ValueError on bytes that are no such values."""
        try:
            return tuple(decode([canonical_type(o) for o in self._functions[function]["outputs"]], returned))
        except DecodingError as error:
            raise ValueError(f"{self.name}.{function} returned something else: {error}") from error

    def creation(self, *arguments: object) -> bytes:
        """The payload that deploys the contract."""
        constructor: Entry = next((e for e in self._abi if e["type"] == "constructor"), {"inputs": []})
        return self.bytecode + encode([canonical_type(i) for i in constructor["inputs"]], arguments)

    def topic(self, event: str) -> bytes:
        """First topic of an event's logs."""
        return next(topic for topic, entry in self._events.items() if entry["name"] == event)

    def event(self, topics: list[bytes], content: bytes) -> tuple[str, dict[str, Any]] | None:
        """Name and arguments of a log, None when it is not this contract's. Structs are tuples, addresses 0x-hex."""
        entry = self._events.get(topics[0]) if topics else None
        if entry is None:
            return None
        indexed = [i for i in entry["inputs"] if i["indexed"]]
        plain = [i for i in entry["inputs"] if not i["indexed"]]
        values: dict[str, Any] = {}
        for parameter, topic in zip(indexed, topics[1:], strict=True):
            (values[parameter["name"]],) = decode([canonical_type(parameter)], topic)
        values |= zip((p["name"] for p in plain), decode([canonical_type(p) for p in plain], content), strict=True)
        return entry["name"], values

    @cached_property
    def _errors(self) -> dict[bytes, Entry]:
        return {keccak(signature(e).encode())[:4]: e for e in self._abi if e["type"] == "error"}

    def error(self, returned: bytes) -> str:
        """Name of the custom error in a revert's output; ``unknown`` for anything else."""
        entry = self._errors.get(returned[:4])
        return "unknown" if entry is None else str(entry["name"])

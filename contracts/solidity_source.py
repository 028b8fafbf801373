"""Writes ``solidity/src/libraries/Messages.sol`` from the message classes: one source for both languages.

For every message a struct, its EIP-712 type hash and ``hashStruct``; for the leaves of the account trees the
structs, ``pack`` (the canonical bytes that are hashed) and ``unpack`` (the struct of those bytes). The text is
already in the form ``forge fmt`` gives it, so that it can be compared byte by byte without the toolchain.
"""

from __future__ import annotations

import re
import textwrap

from contracts.eip712 import Message, SolidityType, camel_case, layout
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot
from contracts.messages import MESSAGES

LEAVES: tuple[type[Message], ...] = (Slot, MeterLeaf, BalanceLeaf)
LINE = 120

HEAD = """// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Every message that a party signs, and every leaf that a tree commits to.
/// @notice Generated from contracts/messages.py and contracts/leaves.py by `python -m contracts.artifacts`; a test
/// holds both languages together. Prices are micro-currency per kWh, costs nano-currency, energies Wh, times UTC
/// seconds. Numbers whose legal values are few (sides, rules) are plain integers here: a lie must be representable
/// to be refuted.
library Messages {
"""


def type_hash_name(message_type: type[Message]) -> str:
    """Name of the type hash constant: ``SET_POINT_TYPE_HASH`` for ``SetPoint``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", message_type.__name__).upper() + "_TYPE_HASH"


def messages_library() -> str:
    """The whole text of ``Messages.sol``."""
    parts = [_struct(message_type) for message_type in MESSAGES + LEAVES]
    parts.append("    // EIP-712 type hashes.\n" + "".join(_type_hash(message_type) for message_type in MESSAGES))
    parts += [_hash_struct(message_type) for message_type in MESSAGES]
    parts += [_width(message_type) for message_type in LEAVES]
    parts += [_pack(message_type) for message_type in LEAVES]
    parts += [_unpack(message_type) for message_type in LEAVES]
    return HEAD + "\n".join(parts) + "}\n"


def _comment(text: str) -> str:
    lines = textwrap.wrap(text.replace("``", "`"), LINE - 8)
    return "".join(f"    /// {line}\n" for line in lines)


def _summary(message_type: type[Message]) -> str:
    document = (message_type.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(document.split())


def _struct(message_type: type[Message]) -> str:
    body = "".join(f"        {kind.name} {camel_case(name)};\n" for name, kind in layout(message_type).columns)
    return f"{_comment('@notice ' + _summary(message_type))}    struct {message_type.__name__} {{\n{body}    }}\n"


def _type_hash(message_type: type[Message]) -> str:
    declared = f"    bytes32 internal constant {type_hash_name(message_type)} ="
    value = f'keccak256("{layout(message_type).type_string}");'
    one_line = f"{declared} {value}"
    text = one_line
    if len(one_line) > LINE:
        text = f"{declared}\n        {value}"
    if len(text.splitlines()[-1]) > LINE:
        text = f'{declared} keccak256(\n        "{layout(message_type).type_string}"\n    );'
    return f"{text}\n"


def _hash_struct(message_type: type[Message]) -> str:
    name = message_type.__name__
    return (
        f"{_comment(f'@notice EIP-712 struct hash of a {name}.')}"
        f"    function hashStruct({name} memory message) internal pure returns (bytes32) {{\n"
        f"        return keccak256(abi.encode({type_hash_name(message_type)}, message));\n"
        "    }\n"
    )


def _width(message_type: type[Message]) -> str:
    name = f"{type_hash_name(message_type).removesuffix('_TYPE_HASH')}_BYTES"
    return (
        f"{_comment(f'@notice Length of a packed {message_type.__name__}.')}"
        f"    uint256 internal constant {name} = {layout(message_type).width};\n"
    )


def _pack(message_type: type[Message]) -> str:
    name = message_type.__name__
    arguments = ",\n".join(f"            leaf.{camel_case(field)}" for field, _ in layout(message_type).columns)
    one_line = ", ".join(f"leaf.{camel_case(field)}" for field, _ in layout(message_type).columns)
    call = f"        return abi.encodePacked({one_line});"
    if len(call) > LINE:
        call = f"        return abi.encodePacked(\n{arguments}\n        );"
    return (
        f"{_comment(f'@notice The canonical bytes of a {name}: every field big-endian in its own width.')}"
        f"    function pack({name} memory leaf) internal pure returns (bytes memory) {{\n{call}\n    }}\n"
    )


def _unpack(message_type: type[Message]) -> str:
    name = message_type.__name__
    at = 0
    rows = []
    for field, kind in layout(message_type).columns:
        rows.append(f"        leaf.{camel_case(field)} = {_slice(kind, at)};\n")
        at += kind.width
    return (
        f"{_comment(f'@notice The {name} of those canonical bytes, {at} of them.')}"
        f"    function unpack{name}(bytes calldata packed) internal pure returns ({name} memory leaf) {{\n"
        f"{''.join(rows)}    }}\n"
    )


def _slice(kind: SolidityType, at: int) -> str:
    part = f"bytes{kind.width}(packed[{at}:{at + kind.width}])"
    if kind.name == "bytes32":
        return part
    unsigned = f"uint{kind.width * 8}({part})"
    return unsigned if kind.name.startswith("uint") else f"{kind.name}({unsigned})"

"""What a device answered, as the `[example]` of a profile: how an installer hands on a device nobody has seen yet.

Words in rows of consecutive registers, then the integers and texts they mean through the profile. The text stands at
the end of a profile's file in place of its example, and is checked there like every other.
"""

from __future__ import annotations

from .codec import Registers, decode, decode_texts
from .profile_parts import Profile

__all__ = ["example_text"]

_ROW = 12
"""Words in a line of 100 characters."""


def example_text(profile: Profile, registers: Registers) -> str:
    """TOML of `[[example.block]]`, `[example.values]` and `[example.texts]`; the profile must be resolved."""
    lines: list[str] = []
    for function, address, words in _blocks(registers):
        lines += ["[[example.block]]", f"function = {function}", f"address = {address}", "words = ["]
        for first in range(0, len(words), _ROW):
            lines.append("  " + ", ".join(f"0x{word:04X}" for word in words[first : first + _ROW]) + ",")
        lines += ["]", ""]
    lines.append("[example.values]")
    lines += [f"{name} = {value}" for name, value in decode(profile, registers).items()]
    texts = decode_texts(profile, registers)
    if texts:
        lines += ["", "[example.texts]"]
        lines += [f'{name} = "{text.translate(_ESCAPED)}"' for name, text in texts.items()]
    return "\n".join(lines) + "\n"


_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\"})


def _blocks(registers: Registers) -> list[tuple[int, int, list[int]]]:
    """Function, first address and words of every run of consecutive registers."""
    found: list[tuple[int, int, list[int]]] = []
    for function, address in sorted(registers):
        word = registers[function, address]
        if found and found[-1][0] == function and found[-1][1] + len(found[-1][2]) == address:
            found[-1][2].append(word)
        else:
            found.append((function, address, [word]))
    return found

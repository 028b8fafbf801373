"""Set-points to write requests in the order the device needs them, and back for read-back and simulation.

Order: `before` steps, the value, the watchdog's seconds, then `enable`: a device must never act on an enabled
set-point whose value or time limit is still the old one. Each element of the answer is one write request.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .codec import LocalCodecError, Registers, decode_raw, encode_number, scale_exponent_at, words_at
from .profile_parts import UNRESOLVED, Profile, Step, WritePoint
from .register_type import TYPES, raw_from_words, signed_from_raw

__all__ = ["decode_write", "encode_release", "encode_write", "watchdog_seconds", "write_active"]

_NOTHING: Registers = MappingProxyType({})


def _find(profile: Profile, write_name: str) -> WritePoint:
    try:
        write = profile.write(write_name)
    except KeyError:
        raise LocalCodecError(f"{profile.name} has no set-point {write_name!r}") from None
    if write.address == UNRESOLVED:
        raise LocalCodecError(f"{profile.name}: SunSpec models not found yet, see sunspec.resolve")
    return write


def _exponent(write: WritePoint, registers: Registers) -> int | None:
    if write.scale_register is None:
        return 0
    return scale_exponent_at(registers, write.function, write.scale_register)


def _step_words(step: Step, value: int, order: str) -> tuple[int, list[int]]:
    return step.address, encode_number(value, step.type, (1, 1), 0, 1, order)


def encode_write(
    profile: Profile,
    write_name: str,
    value: int,
    registers: Mapping[tuple[int, int], int] = _NOTHING,
    watchdog_s: int | None = None,
) -> list[tuple[int, list[int]]]:
    """Write requests (address, words), in order, that make the device hold `value`.

    `registers` must hold the scale factor where the set-point has one (plan `[write]` and read it first).
    `watchdog_s` defaults to the profile's seconds and may only be shorter. LocalCodecError for a value outside
    the profile's bounds, one the register has no room for, and a scale factor that was not read.
    """
    write = _find(profile, write_name)
    if not write.minimum <= value <= write.maximum:
        raise LocalCodecError(f"{write_name} of {value} is outside {write.minimum} to {write.maximum}")
    exponent = _exponent(write, registers)
    if exponent is None:
        raise LocalCodecError(f"{write_name}: scale factor at {write.scale_register} was not read or is not valid")
    requests = [_step_words(s, s.value, write.word_order) for s in write.before]
    requests.append(
        (write.address, encode_number(value, write.type, write.scale, exponent, write.sign, write.word_order))
    )
    if write.watchdog is not None:
        seconds = write.watchdog.seconds if watchdog_s is None else watchdog_s
        if not 1 <= seconds <= write.watchdog.seconds:
            raise LocalCodecError(f"watchdog of {seconds} s is outside 1 to {write.watchdog.seconds}")
        timer = Step(write.watchdog.address, write.watchdog.type, seconds)
        requests.append(_step_words(timer, seconds, write.word_order))
    elif watchdog_s is not None:
        raise LocalCodecError(f"{write_name} has no watchdog in the device")
    return requests + [_step_words(s, s.value, write.word_order) for s in write.enable]


def encode_release(profile: Profile, write_name: str) -> list[tuple[int, list[int]]]:
    """Write requests that give the set-point up, last step first; empty where the device has no such thing."""
    write = _find(profile, write_name)
    steps = [*write.before, *write.enable]
    return [_step_words(s, s.release, write.word_order) for s in reversed(steps) if s.release is not None]


def decode_write(profile: Profile, write_name: str, registers: Registers) -> int | None:
    """The set-point the device holds, None where its registers or scale factor were not read."""
    write = _find(profile, write_name)
    words = words_at(registers, write.function, write.address, write.count)
    exponent = _exponent(write, registers)
    if words is None or exponent is None:
        return None
    return decode_raw(raw_from_words(words, write.word_order), write.type, write.scale, exponent, write.sign)


def write_active(profile: Profile, write_name: str, registers: Registers) -> bool | None:
    """Whether every enable register says on; None where one was not read. Always on where there is none."""
    write = _find(profile, write_name)
    for step in write.enable:
        found = _number(step, registers, write)
        if found is None:
            return None
        if found != step.value:
            return False
    return True


def watchdog_seconds(profile: Profile, write_name: str, registers: Registers) -> int | None:
    """Seconds in the device's watchdog register, None where it has none or it was not read."""
    write = _find(profile, write_name)
    if write.watchdog is None:
        return None
    return _number(Step(write.watchdog.address, write.watchdog.type, 0), registers, write)


def _number(step: Step, registers: Registers, write: WritePoint) -> int | None:
    kind = TYPES[step.type]
    words = words_at(registers, write.function, step.address, kind.words)
    if words is None:
        return None
    raw = raw_from_words(words, write.word_order)
    return signed_from_raw(raw, kind.bits) if kind.form == "signed" else raw

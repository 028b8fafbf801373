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


def _scale(write: WritePoint, registers: Registers) -> tuple[int, int] | None:
    """Our unit per count: the profile's, or for percent of another register's value a hundredth of that value."""
    share = write.of
    if share is None:
        return write.scale
    words = words_at(registers, write.function, share.address, TYPES[share.type].words)
    exponent: int | None = 0
    if share.scale_register is not None:
        exponent = scale_exponent_at(registers, write.function, share.scale_register)
    if words is None or exponent is None:
        return None
    whole = decode_raw(raw_from_words(words, write.word_order), share.type, (1, 1), exponent, 1)
    return None if whole is None or whole <= 0 else (whole, 100)


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

    `registers` must hold the scale factor, and what a share refers to, where the set-point has one (plan `[write]`
    and read it first). `watchdog_s` defaults to the profile's seconds and may only be shorter; the device gets the
    next time it can count. LocalCodecError for a
    value outside the profile's bounds, one the register has no room for, and a scale factor that was not read.
    """
    write = _find(profile, write_name)
    if not write.minimum <= value <= write.maximum:
        raise LocalCodecError(f"{write_name} of {value} is outside {write.minimum} to {write.maximum}")
    timer = _timer(write, watchdog_s)
    if value < 0 and write.below_zero is not None:
        write = write.below_zero
    exponent, scale = _exponent(write, registers), _scale(write, registers)
    if exponent is None or scale is None:
        missing = write.scale_register if exponent is None or write.of is None else write.of.address
        raise LocalCodecError(f"{write_name}: scale factor at {missing} was not read or is not valid")
    requests = [_step_words(s, s.value, write.word_order) for s in write.before]
    requests.append((write.address, encode_number(value, write.type, scale, exponent, write.sign, write.word_order)))
    if timer is not None:
        requests.append(_step_words(timer, timer.value, write.word_order))
    return requests + [_step_words(s, s.value, write.word_order) for s in write.enable]


def _timer(write: WritePoint, watchdog_s: int | None) -> Step | None:
    """The write of the watchdog's time; None where there is no register for it."""
    dog = write.watchdog
    if dog is None:
        if watchdog_s is not None:
            raise LocalCodecError(f"{write.name} has no watchdog in the device")
        return None
    seconds = dog.seconds if watchdog_s is None else watchdog_s
    if not 1 <= seconds <= dog.seconds:
        raise LocalCodecError(f"watchdog of {seconds} s is outside 1 to {dog.seconds}")
    return None if dog.address is None else Step(dog.address, dog.type, -(-max(seconds, dog.least_s) // dog.step_s))


def encode_release(profile: Profile, write_name: str) -> list[tuple[int, list[int]]]:
    """Write requests that give the set-point up, last step first; empty where the device has no such thing."""
    write = _find(profile, write_name)
    steps = [*write.before, *write.enable]
    if write.below_zero is not None:
        known = {s.address for s in steps if s.release is not None}
        below = (*write.below_zero.before, *write.below_zero.enable)
        steps = [s for s in below if s.address not in known] + steps
    return [_step_words(s, s.release, write.word_order) for s in reversed(steps) if s.release is not None]


def decode_write(profile: Profile, write_name: str, registers: Registers) -> int | None:
    """The set-point the device holds, None where its registers or scale factor were not read.

    With a register for each direction the one in force counts: the one that is enabled, or where nothing is, the
    one for what is not below zero.
    """
    write = _find(profile, write_name)
    if write.below_zero is not None and _enabled(write.below_zero, registers):
        below = _held(write.below_zero, registers)
        if below is None or below or not _enabled(write, registers):
            return below
    return _held(write, registers)


def _held(write: WritePoint, registers: Registers) -> int | None:
    function, address, kind = write.function, write.address, write.type
    if write.shown is not None:
        function, address, kind = write.shown.function, write.shown.address, write.shown.type
    words = words_at(registers, function, address, TYPES[kind].words)
    exponent, scale = _exponent(write, registers), _scale(write, registers)
    if words is None or exponent is None or scale is None:
        return None
    return decode_raw(raw_from_words(words, write.word_order), kind, scale, exponent, write.sign)


def write_active(profile: Profile, write_name: str, registers: Registers) -> bool | None:
    """Whether every enable register says on; None where one was not read. Always on where there is none."""
    write = _find(profile, write_name)
    above = _enabled(write, registers)
    if above is not False or write.below_zero is None:
        return above
    return _enabled(write.below_zero, registers)


def _enabled(write: WritePoint, registers: Registers) -> bool | None:
    for step in write.enable:
        found = _number(step, registers, write)
        if found is None:
            return None
        if found != step.value:
            return False
    return True


def watchdog_seconds(profile: Profile, write_name: str, registers: Registers) -> int | None:
    """Seconds in the device's watchdog register, None where it was not read or there is no watchdog.

    Where the device has a watchdog but no register for it, the seconds it always waits.
    """
    write = _find(profile, write_name)
    if write.watchdog is None:
        return None
    if write.watchdog.address is None:
        return write.watchdog.seconds
    counts = _number(Step(write.watchdog.address, write.watchdog.type, 0), registers, write)
    return None if counts is None else counts * write.watchdog.step_s


def _number(step: Step, registers: Registers, write: WritePoint) -> int | None:
    kind = TYPES[step.type]
    words = words_at(registers, write.function, step.address, kind.words)
    if words is None:
        return None
    raw = raw_from_words(words, write.word_order)
    return signed_from_raw(raw, kind.bits) if kind.form == "signed" else raw

"""Registers to integers and integers to registers, both ways through the same profile.

Decoding: words -> bit pattern -> exact fraction -> times scale, ten to the scale factor and sign -> rounded half
to even -> one Python integer in our unit, load convention. A point is left out of the answer when its registers
were not read, when the device says "no value" (sentinel, NaN, scale factor 0x8000), or when the number makes no
sense in our unit (infinite, negative where there is no minus, beyond 64 bits). Nothing is ever clipped.
Encoding is the exact inverse within the device's resolution; what does not fit is refused, never bent to fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from .measurement import MEASUREMENTS
from .profile_parts import Point, Profile, RegisterImage, TextPoint
from .register_type import (
    TYPES,
    float_ratio,
    pack_float,
    raw_from_words,
    signed_from_raw,
    text_from_words,
    words_from_raw,
    words_from_text,
)

__all__ = [
    "LocalCodecError",
    "Registers",
    "decode",
    "decode_raw",
    "decode_texts",
    "encode",
    "encode_number",
    "point_value",
    "probe_matches",
    "require_resolved",
    "resolution",
    "rollover",
    "rollover_at",
    "round_half_even",
    "scale_exponent_at",
    "words_at",
]

Registers: TypeAlias = Mapping[tuple[int, int], int]

# No counter or power we know needs more than a signed 64-bit integer; the wire and the store have no more.
_LIMIT = 1 << 63
_SCALE_MAX = 10


class LocalCodecError(ValueError):
    """The caller asked for something the device's registers cannot carry."""


def round_half_even(numerator: int, denominator: int) -> int:
    """The integer nearest to the fraction, ties to the even one; `denominator` above 0."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def words_at(registers: Registers, function: int, address: int, count: int) -> list[int] | None:
    """`count` words from `address`, None unless all of them were read."""
    words = []
    for offset in range(count):
        word = registers.get((function, address + offset))
        if word is None:
            return None
        words.append(word)
    return words


def scale_exponent_at(registers: Registers, function: int, register: int) -> int | None:
    """A SunSpec scale factor, None where it was not read, is 0x8000, or lies outside -10..10."""
    word = registers.get((function, register))
    if word is None:
        return None
    exponent = signed_from_raw(word, 16)
    return exponent if -_SCALE_MAX <= exponent <= _SCALE_MAX else None


def _scaled(scale: tuple[int, int], exponent: int) -> tuple[int, int]:
    if exponent >= 0:
        return scale[0] * 10**exponent, scale[1]
    return scale[0], scale[1] * 10**-exponent


def decode_raw(raw: int, kind_name: str, scale: tuple[int, int], exponent: int, sign: int) -> int | None:
    """The integer a bit pattern means, None for NaN, infinity or a number beyond 64 bits."""
    kind = TYPES[kind_name]
    if kind.form == "float":
        ratio = float_ratio(raw, kind.words)
        if ratio is None:
            return None
        numerator, denominator = ratio
    else:
        numerator, denominator = (signed_from_raw(raw, kind.bits) if kind.form == "signed" else raw), 1
    up, down = _scaled(scale, exponent)
    value = round_half_even(sign * numerator * up, denominator * down)
    return value if -_LIMIT <= value < _LIMIT else None


def _exponent_of(point: Point, registers: Registers) -> int | None:
    if point.scale_register is None:
        return 0
    return scale_exponent_at(registers, point.function, point.scale_register)


def point_value(point: Point, raws: Sequence[int], exponent: int) -> int | None:
    """The integer the bit patterns of all terms mean together; `raws` in the order of `point.terms`."""
    kind = TYPES[point.type]
    as_signed = kind.form == "signed" or point.magnitude
    numerator, denominator = 0, 1
    for place, raw in enumerate(raws):
        if raw in point.zero:
            continue
        if raw in point.absent:
            if 1 <= place <= len(point.plus):
                continue
            return None
        if kind.form == "float":
            ratio = float_ratio(raw, kind.words)
            if ratio is None:
                return None
            numerator, denominator = ratio
            continue
        number = signed_from_raw(raw, kind.bits) if as_signed else raw
        numerator += -number if place > len(point.plus) else number
    up, down = _scaled(point.scale, exponent)
    value = round_half_even(point.sign * numerator * up, denominator * down)
    known = MEASUREMENTS[point.measurement]
    if point.magnitude or known.magnitude:
        value = abs(value)
    return None if (value < 0 and not known.signed) or not -_LIMIT <= value < _LIMIT else value


def _decode_point(point: Point, registers: Registers) -> int | None:
    raws = []
    for address in point.terms:
        words = words_at(registers, point.function, address, point.count)
        if words is None:
            return None
        raws.append(raw_from_words(words, point.word_order))
    exponent = _exponent_of(point, registers)
    return None if exponent is None else point_value(point, raws, exponent)


def decode(profile: Profile, registers: Registers, points: Iterable[Point] | None = None) -> dict[str, int]:
    """Measurement to integer, for all points of the profile or the given ones; missing is absent."""
    require_resolved(profile)
    found = {}
    for point in profile.points if points is None else points:
        value = _decode_point(point, registers)
        if value is not None:
            found[point.measurement] = value
    return found


def decode_texts(profile: Profile, registers: Registers) -> dict[str, str]:
    """What the device says about itself; empty texts and unread ones are left out."""
    require_resolved(profile)
    found = {}
    for text in profile.texts:
        words = words_at(registers, text.function, text.address, text.count)
        value = text_from_words(words, text.characters) if words else ""
        if value:
            found[text.name] = value
    return found


def encode_number(
    value: int, kind_name: str, scale: tuple[int, int], exponent: int, sign: int, word_order: str
) -> list[int]:
    """The words that carry `value`; LocalCodecError where the type has no room for it."""
    kind = TYPES[kind_name]
    up, down = _scaled(scale, exponent)
    numerator, denominator = sign * value * down, up
    if kind.form == "float":
        try:
            return words_from_raw(pack_float(numerator, denominator, kind.words), kind.words, word_order)
        except OverflowError as exc:
            raise LocalCodecError(f"{value} does not fit into {kind_name}") from exc
    raw = round_half_even(numerator, denominator)
    low = -(1 << kind.bits - 1) if kind.form == "signed" else 0
    if not low <= raw < low + (1 << kind.bits):
        raise LocalCodecError(f"{value} does not fit into {kind_name}")
    return words_from_raw(raw & ((1 << kind.bits) - 1), kind.words, word_order)


def _parts(point: Point, raw: int) -> list[int]:
    """A sum shared out to its terms: evenly to what is added, or, below zero, to what is taken away."""
    if raw < 0 and point.minus:
        added, taken = 0, -raw
    else:
        added, taken = raw, 0
    ways = 1 + len(point.plus)
    found = [added * (i + 1) // ways - added * i // ways for i in range(ways)]
    others = len(point.minus)
    return found + [taken * (i + 1) // others - taken * i // others for i in range(others)]


def _encode_point(point: Point, value: int, exponent: int) -> list[list[int]]:
    """The words of every term."""
    if value < 0 and not MEASUREMENTS[point.measurement].signed:
        raise LocalCodecError(f"{point.measurement} cannot be {value}")
    if len(point.terms) == 1:
        terms = [encode_number(value, point.type, point.scale, exponent, point.sign, point.word_order)]
    else:
        up, down = _scaled(point.scale, exponent)
        total = round_half_even(point.sign * value * down, up)
        terms = [encode_number(n, point.type, (1, 1), 0, 1, point.word_order) for n in _parts(point, total)]
    for words in terms:
        # An accumulator at 0 reads as "not accumulated"; that is SunSpec's own rule and no loss of a value.
        if raw_from_words(words, point.word_order) in point.absent and not TYPES[point.type].accumulates:
            raise LocalCodecError(f"{point.measurement} of {value} would read as no value")
    return terms


def _absent_words(point: Point) -> list[int] | None:
    """How the device says that it has no value, None where it has no way to say so."""
    kind = TYPES[point.type]
    if point.absent:
        return words_from_raw(point.absent[0], kind.words, point.word_order)
    if kind.form == "float":
        nan = 0x7FC0_0000 if kind.words == 2 else 0x7FF8_0000_0000_0000
        return words_from_raw(nan, kind.words, point.word_order)
    return None


def _exponents(profile: Profile, values: Mapping[str, int]) -> dict[tuple[int, int], int]:
    """One exponent per scale-factor register: the usual one, raised only until all its values fit."""
    found: dict[tuple[int, int], int] = {}
    scaled = [(p.function, p.scale_register, p.scale_exponent) for p in profile.points]
    scaled += [(w.function, w.scale_register, w.scale_exponent) for w in profile.writes]
    for function, place, exponent in scaled:
        if place is not None:
            found.setdefault((function, place), exponent)
    for point in profile.points:
        if point.scale_register is None or point.measurement not in values:
            continue
        register = (point.function, point.scale_register)
        while True:
            try:
                _encode_point(point, values[point.measurement], found[register])
                break
            except LocalCodecError:
                if found[register] == _SCALE_MAX:
                    raise
                found[register] += 1
    return found


def encode(profile: Profile, values: Mapping[str, int], texts: Mapping[str, str] | None = None) -> RegisterImage:
    """All words a device with these values shows, by (function, address).

    A point without a value gets the device's own "no value" pattern; where it has none its words are left out.
    Values the profile has no point for are passed over. LocalCodecError for a name outside the vocabulary and
    for a value the register type, the scale or the unit has no room for.
    """
    require_resolved(profile)
    unknown = sorted(name for name in values if name not in MEASUREMENTS)
    if unknown:
        raise LocalCodecError(f"not measurements: {', '.join(unknown)}")
    image = RegisterImage()
    exponents = _exponents(profile, values)
    for (function, register), exponent in exponents.items():
        image[function, register] = exponent & 0xFFFF
    for point in profile.points:
        exponent = 0
        if point.scale_register is not None:
            exponent = exponents[point.function, point.scale_register]
        value = values.get(point.measurement)
        if value is not None:
            terms = _encode_point(point, value, exponent)
        else:
            nothing = _absent_words(point)
            terms = [] if nothing is None else [nothing] * len(point.terms)
        for address, words in zip(point.terms, terms, strict=False):
            image.put(point.function, address, words)
    probe = profile.probe
    image.put(probe.function, probe.address, probe.words or probe.any_of[:1])
    for text in profile.texts:
        words = words_from_text(_text_of(profile, text, texts or {}), text.count, text.characters)
        image.put(text.function, text.address, words)
    return image


def _text_of(profile: Profile, text: TextPoint, texts: Mapping[str, str]) -> str:
    own = {"manufacturer": profile.vendor, "model": profile.model}
    return texts.get(text.name, own.get(text.name, ""))


def resolution(point: Point, value: int, registers: Registers | None = None) -> int:
    """Smallest step, in our unit and at least 1, by which the device can tell values near `value` apart.

    With a scale-factor register the exponent is taken from `registers`, without them the usual one.
    """
    exponent = point.scale_exponent if point.scale_register is not None else 0
    if registers is not None and point.scale_register is not None:
        exponent = scale_exponent_at(registers, point.function, point.scale_register) or 0
    up, down = _scaled(point.scale, exponent)
    kind = TYPES[point.type]
    if kind.form != "float":
        return max(1, -(-up // down))
    raw = raw_from_words(encode_number(abs(value), point.type, point.scale, exponent, 1, "ABCD"), "ABCD")
    here, above = float_ratio(raw, kind.words), float_ratio(raw + 1, kind.words)
    if here is None or above is None:
        raise LocalCodecError(f"{value} does not fit into {point.type}")
    # Difference of two fractions, scaled to our unit, rounded up.
    step = (above[0] * here[1] - here[0] * above[1]) * up
    return max(1, -(-step // (here[1] * above[1] * down)))


def rollover(point: Point, registers: Registers) -> int | None:
    """The value in our unit at which the counter starts again at 0; None where it never does or is unknown."""
    exponent = _exponent_of(point, registers)
    return None if exponent is None else rollover_at(point, exponent)


def rollover_at(point: Point, exponent: int) -> int | None:
    """The same with the scale factor known."""
    if point.modulus is None:
        return None
    up, down = _scaled(point.scale, exponent)
    return round_half_even(point.modulus * up, down)


def probe_matches(profile: Profile, registers: Registers) -> bool:
    """Whether what was read fits the profile's probe."""
    probe = profile.probe
    if probe.any_of:
        return registers.get((probe.function, probe.address)) in probe.any_of
    if probe.words:
        return words_at(registers, probe.function, probe.address, len(probe.words)) == list(probe.words)
    value = decode(profile, registers, [profile.point(probe.measurement)]).get(probe.measurement)
    return value is not None and probe.minimum <= value <= probe.maximum


def require_resolved(profile: Profile) -> None:
    """LocalCodecError where a SunSpec profile has not found its models yet."""
    if not profile.resolved:
        raise LocalCodecError(f"{profile.name}: SunSpec models not found yet, see sunspec.resolve")

"""Does a profile's own example mean what it says?"""

from __future__ import annotations

from .codec import decode, decode_texts, encode, probe_matches
from .measurement import measurement
from .profile_parts import Profile

__all__ = ["example_errors"]


def example_errors(profile: Profile) -> tuple[str, ...]:
    """What of the (resolved) profile's own example does not come out as written; empty when all does."""
    example, errors = profile.example, []
    decoded = decode(profile, example.registers)
    for name in sorted(decoded.keys() | example.values.keys()):
        if decoded.get(name) != example.values.get(name):
            errors.append(f"{name}: words mean {decoded.get(name)}, example says {example.values.get(name)}")
        elif not measurement(name).minimum <= decoded[name] <= measurement(name).maximum:
            errors.append(f"{name}: {decoded[name]} is beyond anything plausible")
    texts = decode_texts(profile, example.registers)
    if texts != dict(example.texts):
        errors.append(f"texts: words mean {texts}, example says {dict(example.texts)}")
    if not probe_matches(profile, example.registers):
        errors.append("probe: does not fit the example")
    again = decode(profile, encode(profile, decoded, texts))
    lost = [name for name in decoded if again.get(name) != decoded[name]]
    errors += [f"{name}: encoded and decoded is {again.get(name)}" for name in lost]
    return tuple(errors)

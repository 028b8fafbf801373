"""Reads device profiles: one TOML file each, refused with everything that is wrong with it at once.

Flow: file -> `parse_profile` (pure) -> `Profile`. `blueprint.toml` beside this file explains every key.
A shipped profile is loaded by its name, anybody's own by its path.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from .profile_parts import (
    UNRESOLVED,
    Bus,
    Example,
    Hole,
    Kind,
    Point,
    Probe,
    Profile,
    ProfileError,
    RegisterImage,
    Share,
    Shown,
    Span,
    Speed,
    Step,
    SunSpecLayout,
    TextPoint,
    Watchdog,
    WritePoint,
)
from .profile_reader import read_profile

__all__ = [
    "UNRESOLVED",
    "Bus",
    "Example",
    "Hole",
    "Kind",
    "Point",
    "Probe",
    "Profile",
    "ProfileError",
    "RegisterImage",
    "Share",
    "Shown",
    "Span",
    "Speed",
    "Step",
    "SunSpecLayout",
    "TextPoint",
    "Watchdog",
    "WritePoint",
    "list_profiles",
    "load_profile",
    "parse_profile",
    "profile_hash",
]

_ROOM = Path(__file__).parent
_FOLDERS = ("meters", "inverters", "batteries", "chargers")
# A profile is a page or two; a file beyond this is not one.
_MAX_BYTES = 256 * 1024


def parse_profile(text: str) -> Profile:
    """The profile written in `text`; ProfileError with every fault found."""
    # Imported on first use: importing this room stays cheap for those who only decode.
    import tomllib

    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as exc:
        raise ProfileError((f"not TOML: {exc}",)) from exc
    return read_profile(table)


def load_profile(source: str | Path) -> Profile:
    """A shipped profile by name ("eastron_sdm630") or any by path; ProfileError says all that is wrong."""
    path = _path_of(source)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ProfileError((f"{path}: longer than {_MAX_BYTES} bytes",))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ProfileError((f"{path}: cannot be read: {exc}",)) from exc
    profile = parse_profile(text)
    if profile.name != path.stem:
        raise ProfileError((f"{path}: name is {profile.name!r}, the file is called {path.stem!r}",))
    return profile


def profile_hash(source: str | Path) -> bytes:
    """sha256 of the profile's file, byte for byte, shipped or anybody's own. ProfileError where it cannot be read."""
    path = _path_of(source)
    try:
        return sha256(path.read_bytes()).digest()
    except OSError as exc:
        raise ProfileError((f"{path}: cannot be read: {exc}",)) from exc


def _path_of(source: str | Path) -> Path:
    path = Path(source)
    if path.suffix == ".toml":
        return path
    found = [p for p in _shipped() if p.stem == str(source)]
    if not found:
        raise ProfileError((f"no profile called {str(source)!r}; there are: {', '.join(list_profiles())}",))
    return found[0]


def list_profiles() -> list[str]:
    """Names of all shipped profiles, sorted."""
    return sorted(p.stem for p in _shipped())


def _shipped() -> list[Path]:
    return [p for folder in _FOLDERS for p in (_ROOM / folder).glob("*.toml")]

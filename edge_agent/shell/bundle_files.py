"""Images of an agent: wheels in a tar, or one zipapp; packed the same way every time, unpacked into a slot's folder.

A wheel is unpacked as its standard says a pure library goes: its root, and `.data/purelib` and `.data/platlib`, into
`lib/`. No installer program is needed on the device, and nothing of a wheel is run while it is installed. A wheel for
another machine or Python is refused by its name, before the version with it costs a trial.
"""

from __future__ import annotations

import compileall
import io
import os
import platform
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from firmware_bridge.manifest import Manifest, Payload

UNPACKED_LIMIT_BYTES = 1 << 30
"""An agent unpacks to a tenth of it; a card of 8 GB holds two."""
MEMBERS_LIMIT = 50_000

_LAUNCHER = """#!{python}
import os, sys
place = os.path.join(os.path.dirname(os.path.realpath(__file__)), {library!r})
sys.path.insert(0, place)
os.environ["PYTHONPATH"] = place
sys.argv[0] = "edge-agent"
from edge_agent.cli import main
main()
"""


class LocalBundleError(Exception):
    """Files that cannot be packed into a bundle, or an image that cannot be unpacked."""


def pack_image(files: Sequence[Path]) -> tuple[Payload, bytes]:
    """Kind and bytes of an image: wheels or a folder of them, one zipapp, or one firmware. Raises LocalBundleError."""
    found = [inner for path in files for inner in (sorted(path.glob("*.whl")) if path.is_dir() else [path])]
    if not found:
        raise LocalBundleError("nothing to pack")
    try:
        if all(path.suffix == ".whl" for path in found):
            return Payload.WHEELS, _tar_of(found)
        if len(found) != 1:
            raise LocalBundleError("a bundle holds wheels, or one zipapp, or one firmware")
        return Payload.ZIPAPP if found[0].suffix == ".pyz" else Payload.FIRMWARE, found[0].read_bytes()
    except OSError as error:
        raise LocalBundleError(str(error)) from error


def _tar_of(wheels: Sequence[Path]) -> bytes:
    packed = io.BytesIO()
    # pax, because names of wheels that name several platforms exceed the 100 characters of ustar.
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for wheel in sorted(wheels, key=lambda path: path.name):
            member = tarfile.TarInfo(wheel.name)
            member.size = wheel.stat().st_size
            with wheel.open("rb") as file:
                archive.addfile(member, file)
    return packed.getvalue()


def unpack_image(image: IO[bytes], manifest: Manifest, folder: Path) -> None:
    """Unpacks into an empty folder and writes its launcher, durably. Raises LocalBundleError, OSError."""
    library = "lib"
    if manifest.payload == Payload.ZIPAPP:
        library = "agent.pyz"
        with (folder / library).open("wb") as file:
            shutil.copyfileobj(image, file)
    else:
        try:
            with tarfile.open(fileobj=image, mode="r:") as archive:
                _unpack_wheels(archive, folder / library)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise LocalBundleError(f"the image is no tar of wheels: {error}") from error
        # The agent may not write here; without this every start compiles anew, and keeps 5 MB more for good.
        compileall.compile_dir(folder / library, quiet=2)
    launcher = folder / "edge-agent"
    launcher.write_text(_LAUNCHER.format(python=sys.executable, library=library), encoding="utf-8")
    launcher.chmod(0o755)
    os.sync()


def fits_here(wheel: str) -> bool:
    """Whether the tags at the end of a wheel's file name are this interpreter's and this machine's."""
    parts = wheel.removesuffix(".whl").split("-")
    if len(parts) < 5:
        return False
    pythons, abis, platforms = parts[-3:]
    major, minor = sys.version_info[:2]
    own = {f"py{major}", f"cp{major}{minor}", *(f"py{major}{older}" for older in range(minor + 1))}
    if "abi3" in abis.split("."):
        own |= {f"cp{major}{older}" for older in range(2, minor + 1)}
    machine = f"_{platform.machine()}"
    return not own.isdisjoint(pythons.split(".")) and any(
        one == "any" or one.endswith(machine) for one in platforms.split(".")
    )


def _unpack_wheels(archive: tarfile.TarFile, library: Path) -> None:
    library.mkdir()
    left_bytes, left_members = UNPACKED_LIMIT_BYTES, MEMBERS_LIMIT
    for member in archive:
        if not member.isreg() or "/" in member.name or not member.name.endswith(".whl"):
            raise LocalBundleError(f"{member.name!r} is no wheel")
        if not fits_here(member.name):
            here = f"{platform.machine()}, Python {sys.version_info[0]}.{sys.version_info[1]}"
            raise LocalBundleError(f"{member.name!r} is not for this machine ({here})")
        opened = archive.extractfile(member)
        assert opened is not None
        with zipfile.ZipFile(opened) as wheel:
            rows = wheel.infolist()
            left_members -= len(rows)
            left_bytes -= sum(row.file_size for row in rows)
            if left_bytes < 0 or left_members < 0:
                raise LocalBundleError("the wheels are too large unpacked")
            for row in rows:
                _unpack_member(wheel, row, library)


def _unpack_member(wheel: zipfile.ZipFile, row: zipfile.ZipInfo, library: Path) -> None:
    parts = PurePosixPath(row.filename).parts
    if parts and parts[0].endswith(".data"):
        if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
            return
        parts = parts[2:]
    if not parts or row.filename.endswith("/"):
        return
    is_plain = (row.external_attr >> 16) & 0o170000 in (0, 0o100000)
    if not is_plain or row.filename.startswith("/") or ".." in parts or "\\" in row.filename:
        raise LocalBundleError(f"{row.filename!r} must not be in a wheel")
    target = library.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with wheel.open(row) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    if (row.external_attr >> 16) & 0o111:
        target.chmod(0o755)

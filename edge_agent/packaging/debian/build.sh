#!/bin/sh
# Builds a Debian package of the agent: energy-grid-agent_<version>_<arch>.deb.
#
#   build.sh WHEEL ARCH PYTHON OUT      build.sh dist/energy_grid-0.1.0-py3-none-any.whl arm64 3.11 dist
#
# ARCH is amd64 or arm64, PYTHON the target's python3 (3.11 on Debian 12, 3.13 on Debian 13). Only ready-made wheels
# are taken, so no compiler is needed here or there, and another architecture than this machine's is no difficulty.
# Needs dpkg-deb and a python3 with pip in which energy-grid is installed: $PYTHON_COMMAND, default python3.
set -eu
wheel=$1 arch=$2 python=$3 out=$4
here=$(dirname "$0")
run=${PYTHON_COMMAND:-python3}
case $arch in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "build.sh: no architecture $arch; there are amd64 and arm64" >&2; exit 2 ;;
esac
version=$(basename "$wheel" | cut -d- -f2)
next=3.$((${python#3.} + 1))
# The versions the tests ran with.
export PIP_CONSTRAINT="${PIP_CONSTRAINT-$(cd "$here/../../.." && pwd)/constraints.txt}"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

lib=$tree/opt/energy-grid/lib
mkdir -p "$lib" "$tree/usr/bin" "$tree/usr/lib/systemd/system" "$tree/usr/lib/sysusers.d" "$tree/DEBIAN"
mkdir -p "$tree/usr/share/doc/energy-grid-agent"
"$run" -m pip install --quiet --disable-pip-version-check --no-compile --target "$lib" --only-binary=:all: \
  --implementation cp --python-version "$python" \
  --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" "${wheel}[agent]"
# What comes along and is never used: pip itself, and scripts that point at the builder's interpreter.
rm -rf "${lib:?}/pip" "$lib"/pip-*.dist-info "${lib:?}/bin"
find "$lib" -name __pycache__ -type d -prune -exec rm -rf {} +

cat >"$tree/usr/bin/edge-agent" <<LAUNCHER
#!/bin/sh
PYTHONPATH=/opt/energy-grid/lib PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 exec /usr/bin/python$python -m edge_agent.cli "\$@"
LAUNCHER
chmod 755 "$tree/usr/bin/edge-agent"
"$run" - "$tree/usr/lib" <<'UNIT'
import sys
from pathlib import Path
from edge_agent import systemd_unit as unit

lib = Path(sys.argv[1])
text = unit.unit_text("/usr/bin/edge-agent", "/etc/energy-grid/agent.toml", unit.DEFAULT_CREDENTIALS, serial=True)
(lib / "systemd/system" / unit.UNIT_NAME).write_text(text)
(lib / "sysusers.d/energy-grid.conf").write_text(unit.sysusers_text())
UNIT
cp "$here/../agent.example.toml" "$tree/usr/share/doc/energy-grid-agent/agent.toml.example"

cat >"$tree/DEBIAN/control" <<CONTROL
Package: energy-grid-agent
Version: $version
Architecture: $arch
Section: net
Priority: optional
Maintainer: energy-grid <packages@energy-grid.invalid>
Depends: python3 (>= $python), python3 (<< $next), systemd (>= 250)
Recommends: systemd-timesyncd | time-daemon
Installed-Size: $(du -ks "$tree" | cut -f1)
Description: agent of a home that trades energy with its neighbours
 Reads meters and inverters, signs what they count, bids, and obeys set-points
 within the home's own limits. Works on without a link and loses nothing.
CONTROL
for script in postinst prerm; do
  cp "$here/$script" "$tree/DEBIAN/$script"
  chmod 755 "$tree/DEBIAN/$script"
done
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz -z3 --build "$tree" "$out/energy-grid-agent_${version}_${arch}.deb"

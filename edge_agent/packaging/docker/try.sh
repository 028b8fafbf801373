#!/usr/bin/env bash
# Builds the two images and runs them, without any container service: sudo edge_agent/packaging/docker/try.sh
#
# Needs root, Debian with: buildah podman runc mmdebstrap mosquitto curl, and ./dev's environment. Where the official
# base image cannot be had, a stand-in is made of Debian packages. Two to ten minutes, 3 GB below $TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=edge_agent/packaging base=docker.io/library/python:3.11-slim-bookworm
work=$(mktemp -d)
meter_port=${METER_PORT:-15502} broker_port=${BROKER_PORT:-15883}
started=()
cat >"$work/storage.conf" <<STORAGE
[storage]
driver = "vfs"
graphroot = "$work/graph"
runroot = "$work/run"
STORAGE
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
box() { podman --runtime runc --cgroup-manager cgroupfs "$@"; }
clean() {
  box rm --force --time 5 --all >/dev/null 2>&1 || true
  for one in "${started[@]}"; do kill "$one" 2>/dev/null || true; done
  # Nothing of this machine may hang below what is removed, also when a build was interrupted.
  findmnt --raw --noheadings --output TARGET | grep "^$work/" | sort --reverse | xargs --no-run-if-empty umount || true
  rm -rf --one-file-system "$work"
}
trap clean EXIT

if ! buildah pull --quiet --signature-policy "$work/policy.json" "$base" >/dev/null 2>&1; then
  echo "== the base image cannot be had: a stand-in of Debian packages"
  mmdebstrap --quiet --variant=minbase \
    --include=python3.11,python3-venv,python3-pip,python-is-python3,ca-certificates,netbase,tzdata \
    bookworm "$work/base.tar" http://deb.debian.org/debian
  made=$(buildah from scratch)
  tar -xf "$work/base.tar" -C "$(buildah mount "$made")"
  rm -f "$(buildah mount "$made")"/usr/lib/python3*/EXTERNALLY-MANAGED "$work/base.tar"
  buildah commit --quiet --rm "$made" "$base" >/dev/null
fi

# How this machine reaches its package index is the machine's, and is not left in the image.
volumes=()
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  if [ -e "$file" ]; then volumes+=(--volume "$file:$file:ro"); fi
done
build() {
  buildah bud --quiet --format docker --pull-never --signature-policy "$work/policy.json" "${volumes[@]}" "$@" >/dev/null
}
echo "== the container"
build -f $here/docker/Dockerfile -t energy-grid-agent .
echo "== the add-on"
mkdir "$work/add-on"
.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir "$work/add-on" . 2>/dev/null
cp $here/home_assistant/* $here/agent.example.toml constraints.txt "$work/add-on"
build -t energy-grid-add-on "$work/add-on"
buildah images

printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$broker_port" >"$work/mosquitto.conf"
mosquitto -c "$work/mosquitto.conf" >/dev/null 2>&1 & started+=($!)
.venv/bin/simulate meter eastron_sdm630 --port "$meter_port" >/dev/null 2>&1 & started+=($!)

# A home's configuration: an example, with what its owner would fill in.
filled() {
  sed -e "s|broker.example.org|127.0.0.1|" -e "s|^port = 1883|port = $broker_port|" \
    -e "s|192.168.1.50|127.0.0.1|" -e "s|^port = 502|port = $meter_port|" "$1"
}
# Figures for which this machine's own limits need not be raised.
options=(--network=host --ulimit nofile=1024:1024 --ulimit nproc=1000:1000)
healthy() {
  for _ in $(seq 60); do
    if curl -sf "http://127.0.0.1:$1/health"; then return; fi
    sleep 1
  done
  echo "try.sh: no health on port $1" >&2
  box logs "$2" >&2
  return 1
}
ended_well() {
  box stop --time 20 "$1" >/dev/null 2>&1
  [ "$(box inspect --format '{{.State.ExitCode}}' "$1")" = 0 ] || { echo "try.sh: $1 did not end well" >&2; return 1; }
}

echo "== it runs, unprivileged, with a read-only root"
mkdir "$work/etc"
{ printf 'clock.trusted = true\nstatus.port = 15099\n'
  filled $here/agent.example.toml | sed -e 's|^credential = "key".*|file = "/var/lib/energy-grid/key"|'; } >"$work/etc/agent.toml"
hardened=("${options[@]}" --read-only --cap-drop=ALL --security-opt=no-new-privileges --memory=128m
  --volume "$work/etc:/etc/energy-grid:ro" --volume energy-grid:/var/lib/energy-grid)
box run --rm --no-healthcheck "${hardened[@]}" energy-grid-agent key new /var/lib/energy-grid/key
box run --rm --no-healthcheck "${hardened[@]}" energy-grid-agent config check
box run --rm --no-healthcheck "${hardened[@]}" energy-grid-agent doctor
box run --detach --no-healthcheck --name agent "${hardened[@]}" energy-grid-agent >/dev/null
healthy 15099 agent
grep -E 'Uid|VmHWM|CapEff|NoNewPrivs' "/proc/$(box inspect --format '{{.State.Pid}}' agent)/status"
ended_well agent

echo "== the add-on begins with an example, and runs when it is filled in"
mkdir "$work/config" "$work/data"
echo '{"verbose": true}' >"$work/data/options.json"
added=("${options[@]}" --volume "$work/config:/config" --volume "$work/data:/data")
box run --rm "${added[@]}" energy-grid-add-on
{ echo 'status.port = 15098'; filled "$work/config/agent.toml" | sed -e '/^\[status\]/,/^proxy/d'; } >"$work/config/filled"
mv "$work/config/filled" "$work/config/agent.toml"
box run --detach --name add-on "${added[@]}" energy-grid-add-on >/dev/null
healthy 15098 add-on
ended_well add-on
echo "== all as it should be"

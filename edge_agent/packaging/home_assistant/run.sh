#!/bin/sh
# /config is the add-on's own folder (addon_config), /data what only the add-on sees: there lie key and readings.
set -eu
[ -f /data/key ] || { echo "The operator registers this address:"; edge-agent key new /data/key; }
if [ ! -f /config/agent.toml ]; then
  sed -e 's|^credential = "key".*|file = "/data/key"|' -e 's|/var/lib/energy-grid|/data|' \
    -e 's|^# \[status\]|[status]|' -e 's|^# host = "0.0.0.0".*|host = "0.0.0.0"\nproxy = "172.30.32.2"|' \
    /agent.example.toml >/config/agent.toml
  echo 'clock.trusted = true' | cat - /config/agent.toml >/config/agent.toml.new
  mv /config/agent.toml.new /config/agent.toml
  echo "An example lies in the add-on's folder as agent.toml: fill it in and start again."
  # Nothing is signed for the account of an example.
  exit 0
fi
edge-agent config check --config /config/agent.toml
verbose=$(python3 -c 'import json; print("--verbose" if json.load(open("/data/options.json"))["verbose"] else "")')
# shellcheck disable=SC2086
exec edge-agent run --config /config/agent.toml $verbose

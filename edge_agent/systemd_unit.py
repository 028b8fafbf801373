"""The agent's systemd unit and its user, as text.

Why each line stands there: systemd.exec(5), systemd.service(5), systemd.resource-control(5). Two that look missing:
`ProtectClock` and the filter of `@clock` would also forbid *asking* the kernel whether the clock is synchronised
(adjtimex(2) with modes 0), and without an answer nothing is signed; setting it is impossible without capabilities.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from edge_agent.config import AgentConfig
from edge_agent.config_update import UpdateConfig

UNIT_NAME = "energy-grid-agent.service"
UNIT_PATH = PurePosixPath("etc/systemd/system") / UNIT_NAME
SYSUSERS_PATH = PurePosixPath("etc/sysusers.d/energy-grid.conf")
USER = "energy-grid"
STATE_FOLDER = "/var/lib/energy-grid"
CREDENTIALS_FOLDER = "/etc/energy-grid/credentials"
DEFAULT_CREDENTIALS = ("key",)
WATCHDOG_S = 90
"""Three beats of half a minute: a slow card may hold up two of them."""
START_S = 120
_SERIAL = ("char-ttyUSB", "char-ttyACM", "char-ttyAMA", "char-ttyS", "char-pts")

_HARDENING = (
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "PrivateIPC=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "# To ask whether the clock is synchronised; to set it would need a capability.",
    "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64",
    "SystemCallErrorNumber=EPERM",
)


def credentials_of(config: AgentConfig) -> tuple[str, ...]:
    """Names of the credentials the configuration asks for."""
    key = config.key
    return tuple(name for name in (key.credential, key.password_credential, key.next_credential) if name)


def has_serial_lines(config: AgentConfig) -> bool:
    """Whether a device hangs on a serial line."""
    return any(meter.device for meter in config.meters)


def sysusers_text() -> str:
    """The system user, for systemd-sysusers."""
    return f'u {USER} - "energy-grid agent" {STATE_FOLDER}\n'


def unit_text(
    executable: str,
    config_path: str,
    credentials: tuple[str, ...],
    serial: bool,
    encrypted: bool = False,
    update: UpdateConfig | None = None,
) -> str:
    """The unit. ``serial`` opens serial lines; ``encrypted`` takes credentials sealed by systemd-creds.

    With ``update`` it starts what the slots hold instead of ``executable``, and lets a new version prove itself.
    """
    load = "LoadCredentialEncrypted" if encrypted else "LoadCredential"
    lines = [
        "# Written by edge-agent install-service; local changes belong into a drop-in (systemctl edit).",
        "[Unit]",
        "Description=energy-grid edge agent",
        "Wants=network-online.target",
        "After=network-online.target time-sync.target mosquitto.service",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *_starts(executable, config_path, update),
        "Restart=always",
        "RestartSec=5",
        "# 78: the configuration is wrong, and starting again does not make it right.",
        "RestartPreventExitStatus=78",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutStartSec={START_S if update is None else START_S + update.wait_s}",
        "TimeoutStopSec=30",
        "",
        f"User={USER}",
        f"Group={USER}",
        *(["SupplementaryGroups=dialout"] if serial else []),
        "UMask=0077",
        f"StateDirectory={PurePosixPath(STATE_FOLDER).name}",
        "StateDirectoryMode=0700",
        *(f"{load}={name}:{CREDENTIALS_FOLDER}/{name}" for name in credentials),
        "Environment=PYTHONDONTWRITEBYTECODE=1",
        "",
        "MemoryHigh=96M",
        "MemoryMax=128M",
        "TasksMax=64",
        "LimitCORE=0",
        "OOMScoreAdjust=-500",
        "",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        *_devices(serial),
        *_HARDENING,
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _starts(executable: str, config_path: str, update: UpdateConfig | None) -> list[str]:
    """`+`: slots belong to root, so that the agent itself cannot change what it is."""
    if update is None:
        return [f"ExecStart={executable} run --config {config_path}"]
    folder = update.folder
    ready = "" if update.ready_file is None else f" --metrics {update.ready_file}"
    return [
        f"ExecStartPre=-+{folder}/trusted/edge-agent update boot --config {config_path}",
        f"ExecStart={folder}/current/edge-agent run --config {config_path}{ready}",
        f"ExecStartPost=-+{folder}/trusted/edge-agent update confirm --config {config_path}",
    ]


def _devices(serial: bool) -> list[str]:
    if not serial:
        return ["PrivateDevices=yes", "DevicePolicy=closed"]
    return ["DevicePolicy=closed", *(f"DeviceAllow={kind} rw" for kind in _SERIAL)]

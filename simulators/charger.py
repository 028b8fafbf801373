"""A charging point with a vehicle that takes whatever it is given: whole watts, whole watt-seconds, a virtual clock."""

from __future__ import annotations

WS_PER_WH = 3_600
PHASES = 3
NOMINAL_VOLTAGE_MV = 230_000
STATUS_WAITING, STATUS_CHARGING = 2, 3


class Charger:
    """Stands still until somebody sets a power; takes at most ``rated_power_w``."""

    def __init__(self, now_s: int, rated_power_w: int = 22_080, opening_wh: int = 3_120_338) -> None:
        self.now_s = now_s
        self.power_w = 0
        self._rated_power_w = rated_power_w
        self._import_ws = opening_wh * WS_PER_WH

    def advance(self, to_s: int) -> None:
        """Move the clock; an instant in the past changes nothing."""
        self._import_ws += self.power_w * max(to_s - self.now_s, 0)
        self.now_s = max(to_s, self.now_s)

    def set_power(self, power_w: int) -> None:
        """What the vehicle takes from now on."""
        self.power_w = max(0, min(power_w, self._rated_power_w))

    def values(self) -> dict[str, int]:
        """What it shows now, by the names of `device_profiles/measurement.py`."""
        shown = {
            "power_w": self.power_w,
            "import_wh": self._import_ws // WS_PER_WH,
            "rated_power_w": self._rated_power_w,
            "max_power_w": self._rated_power_w,
            "status": STATUS_CHARGING if self.power_w else STATUS_WAITING,
        }
        for phase in range(PHASES):
            share_w = self.power_w // PHASES + (self.power_w % PHASES if phase == 0 else 0)
            shown[f"power_l{phase + 1}_w"] = share_w
            shown[f"voltage_l{phase + 1}_mv"] = NOMINAL_VOLTAGE_MV
            shown[f"current_l{phase + 1}_ma"] = share_w * 1_000_000 // NOMINAL_VOLTAGE_MV
        return shown

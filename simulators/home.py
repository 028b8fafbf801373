"""Simulated homes: load, roof, battery and the meter between them and the grid, on a virtual clock.

Flow: ``street(...)`` makes different `HomePlan`s; a `Home` follows its plan through a `DayInput` (see
`simulators.weather`). ``advance(to_s)`` moves the clock: on a grid of ``step_s`` (and whenever a command arrives or
expires) powers are decided, and between decisions they are constant. Powers are whole watts and energies whole
watt-seconds, so the books balance exactly:

    load + battery losses + change of stored energy = import - export + production

and counters are those sums in Wh, rounded down with the rest carried. Where ``advance`` stops makes no difference.
Values come out under the names of `device_profiles.measurement`, in load convention: a producing inverter shows
negative power and counts its production as export.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from random import Random

from simulators.battery import WS_PER_WH, Battery
from simulators.load_profile import home_load_w
from simulators.solar import PvArray
from simulators.weather import DayInput

NOMINAL_VOLTAGE_MV = 230_000
NOMINAL_FREQUENCY_MHZ = 50_000
LONGEST_STEP_S = 60

SERVICE_LINE_MOHM = 250
"""Resistance of the service line that bends the voltage until a feeder's power flow says what it is."""

OPENING_SOC_PERMILLE = 300

OPENING_WH = (1_000_000, 4_000_000)
"""Where a meter's registers may stand at the start. Meters that count kWh in single precision still resolve 1 Wh
there, and for the next 4 MWh."""

SUNSPEC_SLEEPING, SUNSPEC_MPPT, SUNSPEC_THROTTLED = 2, 4, 5
SUNSPEC_BATTERY_DISCHARGING, SUNSPEC_BATTERY_CHARGING, SUNSPEC_BATTERY_HOLDING = 3, 4, 6


@dataclass(frozen=True, slots=True)
class HomePlan:
    """One home: what it consumes, what stands on its roof and in its cellar, and how that is metered."""

    name: str
    annual_load_kwh: int
    meter: str
    phases: int = 3
    pv_wp: int = 0
    pv_tilt_deg: int = 0
    pv_azimuth_deg: int = 180
    inverter: str | None = None
    battery_wh: int = 0
    battery_power_w: int = 0
    battery: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name or not self.meter or self.annual_load_kwh < 0 or self.phases not in (1, 3):
            raise ValueError("a home has a name, a meter, a load and one or three phases")
        if (self.pv_wp > 0) != (self.inverter is not None) or self.pv_wp < 0:
            raise ValueError(f"{self.name}: modules and an inverter belong together")
        if (self.battery_wh > 0) != (self.battery is not None) or (self.battery_wh > 0) != (self.battery_power_w > 0):
            raise ValueError(f"{self.name}: a battery has a capacity, a power and a profile, or none of them")
        if self.array is not None and self.inverter_w <= 0:
            raise ValueError(f"{self.name}: too few modules for an inverter")

    @property
    def inverter_w(self) -> int:
        """Rated AC power: a roof has about 1.2 times the modules, rounded down to whole 100 W."""
        return self.pv_wp * 10 // 12 // 100 * 100

    @property
    def array(self) -> PvArray | None:
        """The roof, or None."""
        if self.pv_wp == 0:
            return None
        return PvArray(self.pv_wp, self.pv_tilt_deg, self.pv_azimuth_deg, self.inverter_w)


_STREET = (
    HomePlan("ada", 3_200, "eastron_sdm630", 3, 7_200, 35, 180, "sunspec_103"),
    HomePlan("bo", 3_800, "eastron_sdm630"),
    HomePlan("cy", 2_900, "carlo_gavazzi_em24", 3, 5_400, 30, 225, "sunspec_103"),
    HomePlan("dee", 4_600, "eastron_sdm630", 3, 9_600, 25, 170, "sunspec_103", 10_240, 5_000, "sunspec_battery"),
    HomePlan("eli", 1_800, "eastron_sdm120", 1),
    HomePlan("fay", 5_200, "carlo_gavazzi_em24"),
    HomePlan("gus", 4_100, "schneider_iem3155", 3, 8_000, 40, 135, "sunspec_103", 7_680, 3_500, "sunspec_battery"),
    HomePlan("hal", 2_400, "eastron_sdm120", 1),
    HomePlan("ivy", 3_500, "schneider_iem3155", 3, 6_000, 20, 270, "sunspec_103"),
    HomePlan("jon", 2_700, "carlo_gavazzi_em24"),
    HomePlan("kim", 6_200, "eastron_sdm630", 3, 11_000, 30, 200, "sunspec_103", 12_800, 6_000, "sunspec_battery"),
    HomePlan("leo", 3_000, "schneider_iem3155"),
)
"""Twelve homes of a street: half of them produce, three of these store."""


def street(homes: int = 12, seed: int = 1) -> list[HomePlan]:
    """``homes`` different homes; the same seed gives the same street, and a longer street begins with the shorter."""
    if homes < 0:
        raise ValueError("a street has no fewer than zero homes")
    plans: list[HomePlan] = []
    for number in range(homes):
        model = _STREET[number % len(_STREET)]
        random = Random(f"street/{seed}/{number}")
        row = number // len(_STREET)
        plans.append(
            HomePlan(
                name=model.name if row == 0 else f"{model.name}{row + 1}",
                annual_load_kwh=model.annual_load_kwh * random.randint(90, 110) // 100,
                meter=model.meter,
                phases=model.phases,
                pv_wp=model.pv_wp,
                pv_tilt_deg=model.pv_tilt_deg,
                pv_azimuth_deg=model.pv_azimuth_deg,
                inverter=model.inverter,
                battery_wh=model.battery_wh,
                battery_power_w=model.battery_power_w,
                battery=model.battery,
                seed=random.getrandbits(32),
            )
        )
    return plans


@dataclass(frozen=True, slots=True)
class _Command:
    """An order to a device and the instant its own watchdog drops it."""

    power_w: int
    expires_at_s: int


class Home:
    """One home on a virtual clock. ``now_s`` starts at the first second of the input."""

    def __init__(self, plan: HomePlan, day: DayInput, step_s: int = LONGEST_STEP_S) -> None:
        if not 0 < step_s <= LONGEST_STEP_S or day.step_s % step_s:
            raise ValueError(f"a home steps by 1..{LONGEST_STEP_S} s, a divisor of the input's step")
        self.plan = plan
        self.now_s = day.start_s
        self.load_ws = self.production_ws = self.import_ws = self.export_ws = 0
        self.load_w = self.production_w = self.available_w = self.battery_power_w = self.power_w = 0
        random = Random(f"home/{plan.seed}")
        self._opening_import_wh = random.randrange(*OPENING_WH)
        self._opening_export_wh = random.randrange(*OPENING_WH) if plan.pv_wp else 0
        self._opening_production_wh = self._opening_export_wh + random.randrange(*OPENING_WH)
        self._start_s = day.start_s
        self._step_s = step_s
        self._production_step_s = day.step_s
        self._load = home_load_w(day.load_shape_w, day.step_s, plan.annual_load_kwh, plan.seed, step_s)
        production = day.sky.production_w(plan.array) if plan.array else (0.0,) * len(day.load_shape_w)
        self._production = tuple(round(power_w) for power_w in production)
        self._cells = None
        if plan.battery_wh:
            self._cells = Battery(plan.battery_wh, plan.battery_power_w, OPENING_SOC_PERMILLE)
        self._inverter_limit: _Command | None = None
        self._battery_order: _Command | None = None
        self._terminal_mv: tuple[int, int, int] | None = None
        self.frequency_mhz = NOMINAL_FREQUENCY_MHZ
        self._decided_until_s = self.now_s
        self._decide()

    @property
    def cells(self) -> Battery | None:
        """The battery's own books, or None where there is none."""
        return self._cells

    def advance(self, to_s: int) -> None:
        """Move the clock to ``to_s``. Raises ValueError for an instant in the past."""
        if to_s < self.now_s:
            raise ValueError(f"{self.plan.name}: the clock cannot go back from {self.now_s} to {to_s}")
        while self.now_s < to_s:
            self._integrate(min(self._decided_until_s, to_s) - self.now_s)
            if self.now_s >= self._decided_until_s:
                self._decide()

    def set_inverter_limit(
        self, *, power_w: int | None = None, permille: int | None = None, expires_at_s: int | None = None
    ) -> None:
        """Limit production to ``power_w``, or to ``permille`` of the rated power, until ``expires_at_s``.

        Without a value the limit is lifted. Raises ValueError where there is no inverter, or for a limit that is
        negative, beyond 1000 permille, given twice or without an end.
        """
        if self.plan.inverter is None:
            raise ValueError(f"{self.plan.name} has no inverter")
        if power_w is not None and permille is not None:
            raise ValueError("a limit is in watts or in permille, not both")
        if permille is not None:
            if not 0 <= permille <= 1000:
                raise ValueError(f"a limit of {permille} permille is outside 0..1000")
            power_w = self.plan.inverter_w * permille // 1000
        if power_w is not None and power_w < 0:
            raise ValueError("a limit is not negative")
        self._inverter_limit = _command(power_w, expires_at_s)
        self._decide()

    def set_battery_power(self, power_w: int | None, expires_at_s: int | None = None) -> None:
        """Hold ``power_w`` (positive charges) as far as the battery can, until ``expires_at_s``; then, or with
        None at once, it serves the home's own consumption again. Raises ValueError where there is no battery."""
        if self._cells is None:
            raise ValueError(f"{self.plan.name} has no battery")
        self._battery_order = _command(power_w, expires_at_s)
        self._decide()

    def set_terminal(self, voltage_mv: tuple[int, int, int] | None = None, frequency_mhz: int | None = None) -> None:
        """What the feeder's power flow found at the connection point; None leaves that value as it was."""
        self._terminal_mv = voltage_mv if voltage_mv is not None else self._terminal_mv
        self.frequency_mhz = frequency_mhz if frequency_mhz is not None else self.frequency_mhz

    def meter_values(self) -> dict[str, int]:
        """What the settlement meter shows now; a single-phase meter knows only L1."""
        reactive_var = self.load_w // 5  # household load at a power factor of 0.98
        values = self._electrical(self.power_w, reactive_var, self.plan.phases)
        values["import_wh"] = self._opening_import_wh + self.import_ws // WS_PER_WH
        values["export_wh"] = self._opening_export_wh + self.export_ws // WS_PER_WH
        return values

    def inverter_values(self) -> dict[str, int]:
        """What the inverter shows now. Raises ValueError where there is none."""
        if self.plan.inverter is None:
            raise ValueError(f"{self.plan.name} has no inverter")
        throttled = self.production_w < self.available_w
        producing = SUNSPEC_THROTTLED if throttled else SUNSPEC_MPPT
        return {
            **self._electrical(-self.production_w, 0, 3),
            "import_wh": 0,
            "export_wh": self._opening_production_wh + self.production_ws // WS_PER_WH,
            "available_power_w": self.available_w,
            "dc_power_w": self.production_w * 100 // 96,
            "rated_power_w": self.plan.inverter_w,
            "max_power_w": self.plan.inverter_w,
            "temperature_mc": 25_000 + self.production_w * 4,
            "status": producing if self.available_w else SUNSPEC_SLEEPING,
            "connection_bits": 1,
            "alarm_bits": 0,
        }

    def battery_values(self) -> dict[str, int]:
        """What the battery shows now. Raises ValueError where there is none."""
        if self._cells is None:
            raise ValueError(f"{self.plan.name} has no battery")
        status = SUNSPEC_BATTERY_HOLDING
        if self.battery_power_w:
            status = SUNSPEC_BATTERY_CHARGING if self.battery_power_w > 0 else SUNSPEC_BATTERY_DISCHARGING
        return {
            **self._electrical(self.battery_power_w, 0, 3),
            "import_wh": self._cells.charged_ws // WS_PER_WH,
            "export_wh": self._cells.discharged_ws // WS_PER_WH,
            "soc_permille": self._cells.soc_permille,
            "soh_permille": 1000,
            "capacity_wh": self._cells.capacity_wh,
            "stored_wh": self._cells.stored_wh,
            "rated_power_w": self._cells.power_limit_w,
            "max_power_w": self._cells.power_limit_w,
            "temperature_mc": 22_000 + abs(self.battery_power_w) * 2,
            "status": status,
            "alarm_bits": 0,
        }

    def _decide(self) -> None:
        """Powers from now until the next grid step or the next expiry, whichever comes first."""
        elapsed_s = self.now_s - self._start_s
        until_s = self.now_s + self._step_s - elapsed_s % self._step_s
        self._inverter_limit = self._still_standing(self._inverter_limit)
        self._battery_order = self._still_standing(self._battery_order)
        for command in (self._inverter_limit, self._battery_order):
            if command is not None:
                until_s = min(until_s, command.expires_at_s)
        self.load_w = self._load[elapsed_s // self._step_s % len(self._load)]
        self.available_w = self._production[elapsed_s // self._production_step_s % len(self._production)]
        self.production_w = self.available_w
        if self._inverter_limit is not None:
            self.production_w = min(self.production_w, self._inverter_limit.power_w)
        surplus_w = self.production_w - self.load_w
        self.battery_power_w = 0
        if self._cells is not None:
            wanted_w = surplus_w if self._battery_order is None else self._battery_order.power_w
            self.battery_power_w = self._cells.sustainable_w(wanted_w, until_s - self.now_s)
        self.power_w = self.battery_power_w - surplus_w
        self._decided_until_s = until_s

    def _still_standing(self, command: _Command | None) -> _Command | None:
        """The command, unless its watchdog has run out."""
        return command if command is not None and self.now_s < command.expires_at_s else None

    def _integrate(self, duration_s: int) -> None:
        """Constant powers over ``duration_s``."""
        self.load_ws += self.load_w * duration_s
        self.production_ws += self.production_w * duration_s
        if self._cells is not None:
            self._cells.advance(self.battery_power_w, duration_s)
        if self.power_w >= 0:
            self.import_ws += self.power_w * duration_s
        else:
            self.export_ws -= self.power_w * duration_s
        self.now_s += duration_s

    def _electrical(self, power_w: int, reactive_var: int, phases: int) -> dict[str, int]:
        """Powers, voltages and currents of a balanced device; what three phases cannot share falls to L1."""
        apparent_va = isqrt(power_w * power_w + reactive_var * reactive_var)
        values = {
            "power_w": power_w,
            "reactive_var": reactive_var,
            "apparent_va": apparent_va,
            "power_factor_permille": _power_factor_permille(power_w, apparent_va),
            "frequency_mhz": self.frequency_mhz,
        }
        for phase in range(phases):
            phase_w = _share(power_w, phase, phases)
            phase_var = _share(reactive_var, phase, phases)
            phase_va = isqrt(phase_w * phase_w + phase_var * phase_var)
            voltage_mv = self._voltage_mv(phase)
            name = f"l{phase + 1}"
            values[f"power_{name}_w"] = phase_w
            values[f"reactive_{name}_var"] = phase_var
            values[f"apparent_{name}_va"] = phase_va
            values[f"voltage_{name}_mv"] = voltage_mv
            values[f"current_{name}_ma"] = phase_va * 1_000_000 // voltage_mv if voltage_mv else 0
        return values

    def _voltage_mv(self, phase: int) -> int:
        """The feeder's word where there is one, else nominal less the drop of the service line."""
        if self._terminal_mv is not None:
            return self._terminal_mv[phase]
        if phase >= self.plan.phases:
            return NOMINAL_VOLTAGE_MV
        phase_w = _share(self.power_w, phase, self.plan.phases)
        return max(0, NOMINAL_VOLTAGE_MV - phase_w * SERVICE_LINE_MOHM // (NOMINAL_VOLTAGE_MV // 1000))


def _command(power_w: int | None, expires_at_s: int | None) -> _Command | None:
    """A command with its end, or None for none."""
    if power_w is None:
        return None
    if expires_at_s is None:
        raise ValueError("a command has an end")
    return _Command(power_w, expires_at_s)


def _share(total: int, phase: int, phases: int) -> int:
    """The phases' shares sum to exactly the total."""
    return total // phases + (total % phases if phase == 0 else 0)


def _power_factor_permille(power_w: int, apparent_va: int) -> int:
    """Signed like the power, within -1000..1000; 1000 where nothing flows."""
    if apparent_va == 0:
        return 1000
    return max(-1000, min(1000, power_w * 1000 // apparent_va))

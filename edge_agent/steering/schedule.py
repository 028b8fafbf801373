"""The cheapest way through the coming intervals for a battery and for a vehicle, exactly.

A battery's cost of an interval is a convex, piecewise linear function of the change of its charge: energy from
surplus costs what feeding it in would have paid, energy from the grid costs the tariff, losses lie between. So is the
cost of everything that follows as a function of the charge, and one interval more is an infimal convolution of the
two, which for such functions is a merge of their pieces by slope (Rockafellar, Convex Analysis, §5 and §16). No grid
of states, no solver: a day of quarter-hours takes milliseconds.

    later(charge) -> merge with the interval's pieces -> cut to [reserve, capacity] -> ... -> forward: best change each

Integers: energy in mWh, slopes in micro-currency per kWh times 1000. A vehicle that needs so much until then takes it
where the next Wh is cheapest, which is exact for separable convex costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Pieces = list[tuple[int, int]]
"""Length in mWh and slope, slopes rising: a convex function from the left end of its domain on."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One interval: what the home takes without battery and vehicle (negative: gives), and what energy costs.

    ``buy_price`` is at least ``sell_price`` and neither is negative; `slot_of` makes them so.
    """

    net_mwh: int
    buy_price: int
    sell_price: int


def slot_of(net_mwh: int, buy_price: int, sell_price: int) -> Slot:
    """A slot with prices a schedule can be made of: to be paid for wasting energy is left to somebody else."""
    sell = max(sell_price, 0)
    return Slot(net_mwh, max(buy_price, sell), sell)


@dataclass(frozen=True, slots=True)
class Storage:
    """A battery over one interval: bounds of its charge, of AC energy either way, and of what the home may exchange.

    ``one_way_permille`` of the energy arrives on each way; ``end_price`` is what a kWh in the cells is worth after the
    last interval.
    """

    lowest_mwh: int
    highest_mwh: int
    charge_mwh: int
    discharge_mwh: int
    one_way_permille: int
    end_price: int
    import_mwh: int
    export_mwh: int


def battery_schedule(slots: Sequence[Slot], storage: Storage, charge_mwh: int) -> list[int]:
    """AC energy of the battery in each slot in mWh, positive charges; the cheapest there is.

    A charge outside the bounds widens them: what is below the reserve is not discharged further.
    """
    low, high = min(storage.lowest_mwh, charge_mwh), max(storage.highest_mwh, charge_mwh)
    later: list[Pieces] = [[(high - low, -storage.end_price * 1000)]]
    for slot in reversed(slots):
        left, pieces = _change_pieces(slot, storage)
        right = left + sum(length for length, _ in pieces)
        mirrored = [(length, -slope) for length, slope in reversed(pieces)]
        merged = _merged(later[-1], mirrored)
        later.append(_cut(merged, right, high - low))
    later.pop()
    later.reverse()
    made, charge = [], charge_mwh
    for slot, after in zip(slots, later, strict=True):
        change = _best_change(slot, storage, after, charge - low, high - low)
        charge += change
        made.append(_at_terminals(change, storage.one_way_permille))
    return made


def _change_pieces(slot: Slot, storage: Storage) -> tuple[int, Pieces]:
    """Left end and pieces of an interval's cost over the change of charge in the cells."""
    eta, net = storage.one_way_permille, slot.net_mwh
    most_in = max(0, min(storage.charge_mwh, storage.import_mwh - net))
    most_out = max(0, min(storage.discharge_mwh, storage.export_mwh + net))
    served = min(max(net, 0), most_out)  # discharged for the home, beyond it for the grid
    surplus = min(max(-net, 0), most_in)
    out_grid, out_home = _cells_out(most_out, eta) - _cells_out(served, eta), _cells_out(served, eta)
    in_surplus, in_grid = _cells_in(surplus, eta), _cells_in(most_in, eta) - _cells_in(surplus, eta)
    pieces = [
        (out_grid, slot.sell_price * eta),
        (out_home, slot.buy_price * eta),
        (in_surplus, slot.sell_price * 1_000_000 // eta),
        (in_grid, slot.buy_price * 1_000_000 // eta),
    ]
    return -(out_grid + out_home), [piece for piece in pieces if piece[0] > 0]


def _cells_in(terminal_mwh: int, eta: int) -> int:
    return terminal_mwh * eta // 1000


def _cells_out(terminal_mwh: int, eta: int) -> int:
    return terminal_mwh * 1000 // eta


def _at_terminals(change_mwh: int, eta: int) -> int:
    """AC energy of a change of charge; losses are never rounded away."""
    return -(-change_mwh * 1000 // eta) if change_mwh >= 0 else -(-change_mwh * eta // 1000)


def _merged(one: Pieces, other: Pieces) -> Pieces:
    """Infimal convolution: all pieces of both, by slope."""
    found: Pieces = []
    for length, slope in sorted([*one, *other], key=lambda piece: piece[1]):
        if found and found[-1][1] == slope:
            found[-1] = (found[-1][0] + length, slope)
        else:
            found.append((length, slope))
    return found


def _cut(pieces: Pieces, skip: int, length: int) -> Pieces:
    """The function from ``skip`` behind its left end on, over ``length``."""
    found: Pieces = []
    for size, slope in pieces:
        gone = min(skip, size)
        skip -= gone
        kept = min(size - gone, length)
        length -= kept
        if kept > 0:
            found.append((kept, slope))
    return found


def _best_change(slot: Slot, storage: Storage, after: Pieces, at: int, size: int) -> int:
    """The change from ``at`` (above the lowest charge) with the least cost now and later.

    Of equals the one nearest to serving the home: a forecast may err, and what was done early stays done.
    """
    eta = storage.one_way_permille
    left, now = _change_pieces(slot, storage)
    first, last = max(left, -at), min(left + sum(length for length, _ in now), size - at)
    slopes_now, slopes_later = _cut(now, first - left, last - first), _cut(after, at + first, last - first)
    change, best_from, best_to = first, first, first
    i = j = 0
    rest_now = slopes_now[0][0] if slopes_now else 0
    rest_later = slopes_later[0][0] if slopes_later else 0
    while i < len(slopes_now) and j < len(slopes_later):
        step = min(rest_now, rest_later)
        slope = slopes_now[i][1] + slopes_later[j][1]
        if slope > 0:
            break
        change += step
        best_to = change
        best_from = change if slope < 0 else best_from
        rest_now, rest_later = rest_now - step, rest_later - step
        if rest_now == 0:
            i += 1
            rest_now = slopes_now[i][0] if i < len(slopes_now) else 0
        if rest_later == 0:
            j += 1
            rest_later = slopes_later[j][0] if j < len(slopes_later) else 0
    most = _cells_in(-slot.net_mwh, eta) if slot.net_mwh < 0 else -_cells_out(slot.net_mwh, eta)
    return max(best_from, min(most, best_to))


def vehicle_schedule(
    slots: Sequence[Slot], needs_mwh: int, at_once_mwh: int, most_mwh: int, import_mwh: int
) -> list[int]:
    """Energy in each slot for a vehicle that leaves after the last one; less than it needs where that is not possible.

    The first ``at_once_mwh`` go as early as they can, the rest where the next Wh is cheapest, of equals the earlier.
    """
    rooms = [max(0, min(most_mwh, import_mwh - slot.net_mwh)) for slot in slots]
    made = [0] * len(slots)
    urgent = min(at_once_mwh, needs_mwh)
    for place, room in enumerate(rooms):
        made[place] = min(urgent, room)
        urgent -= made[place]
    rest = needs_mwh - sum(made)
    offers: list[tuple[int, int, int]] = []
    for place, slot in enumerate(slots):
        free = min(max(-slot.net_mwh - made[place], 0), rooms[place] - made[place])
        offers.append((slot.sell_price, place, free))
        offers.append((slot.buy_price, place, rooms[place] - made[place] - free))
    for _, place, size in sorted(offers, key=lambda offer: offer[:2]):
        taken = min(size, rest)
        made[place] += taken
        rest -= taken
    return made


def loaded(slots: Sequence[Slot], steered_mwh: Sequence[int]) -> list[Slot]:
    """The same slots with this much more taken in each."""
    return [Slot(s.net_mwh + more, s.buy_price, s.sell_price) for s, more in zip(slots, steered_mwh, strict=True)]


def joint_schedule(
    slots: Sequence[Slot], storage: Storage, charge_mwh: int, vehicle: Callable[[Sequence[Slot]], list[int]]
) -> tuple[list[int], list[int]]:
    """Battery and vehicle together, each exact given the other: the cheaper of vehicle first and battery first.

    ``vehicle`` schedules it over given slots. Not the joint optimum, which has two states: a test
    measures that it is two percent away at most where prices are like a home's.
    """
    found: list[tuple[int, list[int], list[int]]] = []
    for known in ([0] * len(slots), battery_schedule(slots, storage, charge_mwh)):
        taken = vehicle(loaded(slots, known))
        battery = battery_schedule(loaded(slots, taken), storage, charge_mwh)
        both = [one + other for one, other in zip(taken, battery, strict=True)]
        stored = sum(_in_cells(energy, storage.one_way_permille) for energy in battery)
        found.append((cost_micro_mwh(slots, both) - storage.end_price * stored, battery, taken))
    _, battery, taken = min(found, key=lambda row: row[0])
    return battery, taken


def _in_cells(terminal_mwh: int, eta: int) -> int:
    return _cells_in(terminal_mwh, eta) if terminal_mwh >= 0 else -_cells_out(-terminal_mwh, eta)


def cost_micro_mwh(slots: Sequence[Slot], steered_mwh: Sequence[int]) -> int:
    """What the home pays with this much more in each slot: price in micro per kWh times mWh, summed."""
    total = 0
    for slot, more in zip(slots, steered_mwh, strict=True):
        net = slot.net_mwh + more
        total += net * (slot.buy_price if net > 0 else slot.sell_price)
    return total

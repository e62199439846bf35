"""What a figure includes, and how one becomes another: chip, board, machine, wall.

A device's data sheet gives its power within one scope. Outwards the rest of the machine (`rest_watts`) and the loss of
the supply are added; inwards, from a whole machine to its chip, only a share of what it draws above idle is kept. Both
are coefficients with a spread, so that a figure is less sure the further it is from what the data sheet says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from lightbulb.predicting.devices import CARD_KINDS, Device, DeviceScope

SCOPES: tuple[DeviceScope, ...] = get_args(DeviceScope)  # from the inside out
IDLE_SHARE = 0.2  # of a machine's idle power, the chip's: the rest is memory, drives, network, supply
BOARD_SHARE = 0.3  # of the rest of a machine around a processor, that of its board: memory and regulators


def watts_at(scope: DeviceScope, watts: float, device: Device, devices: int, c: Mapping[str, float]) -> float | None:
    """Power of all devices together within another scope.

    Args:
        scope: that is wanted
        watts: of all devices, within `device.scope`
        device: of which kind they are
        devices: how many
        c: the coefficients by name

    Returns:
        Watts; None where what the rest of the machine draws is not known.
    """
    wanted, own = SCOPES.index(scope), SCOPES.index(device.scope)
    if device.kind in CARD_KINDS and max(wanted, own) <= SCOPES.index("board"):
        return watts  # a card's counter reads the whole card: nothing reads less
    if wanted > own:
        return _outwards(scope, watts, device, devices, c)
    return watts if wanted == own else _inwards(scope, watts, device, devices, c)


def _outwards(scope: DeviceScope, watts: float, device: Device, devices: int, c: Mapping[str, float]) -> float | None:
    delivered = 1 + c["supply_loss"]
    if device.scope == "machine":
        return watts * delivered
    if device.rest_watts is None:
        return None
    rest = devices * device.rest_watts * c["rest"]  # at the wall
    if scope == "wall":
        return watts * delivered + rest
    return watts + rest / delivered * (BOARD_SHARE if scope == "board" else 1.0)


def _inwards(scope: DeviceScope, watts: float, device: Device, devices: int, c: Mapping[str, float]) -> float:
    idle = devices * device.idle_watts
    chip = IDLE_SHARE * idle + c["chip_share"] * max(0.0, watts - idle)
    machine = watts / (1 + c["supply_loss"]) if device.scope == "wall" else watts
    if scope == "machine":
        return machine
    return chip if scope == "chip" else (chip + machine) / 2

"""What a figure includes: one scope from another, and how sure that is."""

from __future__ import annotations

import math

import pytest

from lightbulb.core.errors import UserError
from lightbulb.predicting.coefficients import priors
from lightbulb.predicting.devices import devices, find_device
from lightbulb.predicting.point import point
from lightbulb.predicting.prediction import predict_cost
from lightbulb.predicting.scopes import SCOPES, watts_at
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import from_parameters

C = priors().values
EIGHT = from_parameters(8.03e9).at_bits(4.85)


@pytest.mark.parametrize("device", devices(), ids=lambda d: d.name)
def test_what_includes_more_is_more(device):
    """From chip to wall, for every device, at idle and at the limit; its own scope is what the data sheet says."""
    for watts in (device.idle_watts, device.power_watts):
        found = [w for scope in SCOPES if (w := watts_at(scope, watts, device, 1, C)) is not None]
        assert found == sorted(found) and found[0] > 0
        assert watts_at(device.scope, watts, device, 1, C) == watts
        two = watts_at("chip", 2 * watts, device, 2, C)
        assert two == pytest.approx(2 * watts_at("chip", watts, device, 1, C))


def test_a_desktop_at_the_wall_is_its_card_its_rest_and_the_supplys_loss():
    card = find_device("rtx 4090")
    expected = 300 * (1 + C["supply_loss"]) + card.rest_watts * C["rest"]
    assert watts_at("wall", 300, card, 1, C) == pytest.approx(expected)
    machine = watts_at("machine", 300, card, 1, C)
    assert machine * (1 + C["supply_loss"]) == pytest.approx(expected)
    assert watts_at("chip", 300, card, 1, C) == watts_at("board", 300, card, 1, C) == 300  # a counter reads the card


def test_a_laptop_chips_counter_is_a_part_of_the_wall():
    m2 = find_device("apple m2")
    chip, wall = (point(EIGHT, m2, Setting(), C, scope).output_joules for scope in ("chip", "wall"))
    assert 0.2 < chip / wall < 0.7


def test_the_further_from_the_data_sheet_the_less_sure():
    def width(device: str, scope: str) -> float:
        joules = predict_cost(EIGHT, find_device(device), Setting(), scope=scope).joules_per_output_token
        assert joules.scope == scope
        return math.log(joules.high / joules.low)

    assert width("apple m2", "chip") > width("apple m2", "wall")
    assert width("i7-13700h", "wall") != width("i7-13700h", "chip")


def test_a_scope_that_is_not_known_is_refused():
    tpu = find_device("tpu v4")
    assert predict_cost(EIGHT, tpu, Setting()).wall_joules_per_output_token.value is None
    with pytest.raises(UserError, match="not known") as e:
        predict_cost(EIGHT, tpu, Setting(), scope="wall")
    assert "rest_watts" in e.value.hint
    with pytest.raises(UserError, match="no scope 'room'"):
        predict_cost(EIGHT, tpu, Setting(), scope="room")

"""Readings of a user's own: what they correct, what is left of the interval, and the file they are kept in."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lightbulb.core.errors import UserError
from lightbulb.predicting.devices import Reading, find_device, read_device
from lightbulb.predicting.prediction import predict_cost
from lightbulb.predicting.readings import read_readings, with_readings, write_device
from lightbulb.predicting.request import calibrate_device, predict
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.shapes import from_sizes

SHAPE = from_sizes(32, 4096, 32, 8, 14336, 128256, tied=False).at_bits(4.85)
CARD = find_device("rtx 4090")
SETTING = Setting()


def reading(factor: float, *, speed: float | None = 1.0, setting: Setting = SETTING, scope: str = "wall") -> Reading:
    """What is predicted, times `factor` in joules and `speed` in tokens a second."""
    told = predict_cost(SHAPE, CARD, setting, scope=scope)
    return Reading(
        of="test",
        shape=SHAPE,
        runtime=setting.runtime,
        batch=setting.batch,
        context=setting.context,
        scope=scope,
        joules_per_output_token=factor * told.joules_per_output_token.value,
        tokens_per_second=None if speed is None else speed * told.tokens_per_second.value,
    )


def width(figure) -> float:
    return math.log(figure.high / figure.low)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.6])
def test_a_reading_moves_the_prediction_towards_it_and_narrows_its_interval(factor):
    device, (found,) = with_readings(CARD, (reading(factor),))
    before, after = found.joules_before, found.joules_after
    assert before.value < after.value < factor * before.value or factor <= 1
    assert abs(math.log(after.value / (factor * before.value))) <= 0.55 * abs(math.log(factor)) + 1e-9  # about half way
    assert width(after) < 0.8 * width(before) and after.low < factor * before.value < after.high
    assert width(found.speed_after) < width(found.speed_before)
    assert "1 readings of this device" in after.method and device.readings


def test_more_readings_leave_less():
    told = [with_readings(CARD, (reading(1.5),) * n)[1][0].joules_after for n in (1, 2, 4)]
    assert width(told[0]) > width(told[1]) > width(told[2])
    assert told[0].value < told[1].value < told[2].value


def test_a_reading_at_the_wall_says_something_of_batches_and_of_the_board():
    device, _ = with_readings(CARD, (reading(1.5),))
    for setting, scope in ((Setting(batch=8), "wall"), (SETTING, "board")):
        before, after = (predict_cost(SHAPE, d, setting, scope=scope).joules_per_output_token for d in (CARD, device))
        assert before.value < after.value < 1.5 * before.value and width(after) < width(before)


def test_a_device_of_no_known_kind_is_as_sure_as_others_once_it_was_measured():
    chip = replace(find_device("snapdragon 8 elite"), readings=())
    told = predict_cost(SHAPE, chip, SETTING)
    one = replace(reading(1), scope=chip.scope, joules_per_output_token=2 * told.joules_per_output_token.value)
    after = predict_cost(SHAPE, replace(chip, readings=(one,)), SETTING)
    assert width(after.joules_per_output_token) < 0.8 * width(told.joules_per_output_token)
    assert not any("at most one source" in note for note in after.notes)


def test_what_is_written_is_read_again(tmp_path):
    device, _ = with_readings(CARD, (reading(1.3), reading(0.9, speed=None, scope="board")))
    write_device(device, tmp_path / "mine.toml")
    again = read_device(tmp_path / "mine.toml")
    assert again == device
    told = [predict_cost(SHAPE, d, SETTING).joules_per_output_token for d in (device, again)]
    assert told[0] == told[1]


READINGS = """
[[reading]]
parameters = 8.03e9
bits = "q4_k_m"
scope = "wall"
watts = 420
tokens_per_second = 140

[[reading]]
parameters = 8.03e9
bits = 16
tokens_per_second = 50
"""


def test_from_a_file_to_a_device_that_predictions_take(tmp_path):
    (tmp_path / "readings.toml").write_text(READINGS)
    device, found = calibrate_device("rtx 4090", tmp_path / "readings.toml", tmp_path / "mine.toml")
    assert [r.joules_per_output_token for r in device.readings] == [3.0, None] and len(found) == 2
    told = predict(None, str(tmp_path / "mine.toml"), parameters=8.03e9, bits="q4_k_m", scope="wall")
    assert told.joules_per_output_token == found[0].joules_after
    more, _ = calibrate_device(str(tmp_path / "mine.toml"), tmp_path / "readings.toml", tmp_path / "mine.toml")
    assert len(more.readings) == 4 and read_device(tmp_path / "mine.toml") == more


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('scope = "wall"\n', ""), "what the joules include is not said"),
        (("tokens_per_second = 140", ""), "watts need tokens_per_second"),
        (("tokens_per_second = 50", ""), "nothing was measured"),
        (("watts = 420", "watts = -4"), "watts"),
        (('"wall"', '"room"'), "scope"),
        (("bits = 16", "bit = 16"), "bit"),
        (("bits = 16", 'bits = "q99"'), "q99"),
        (("parameters = 8.03e9\nbits = 16", "bits = 16"), "either a model or a number"),
        (("bits = 16", "bits = 16\nbatch = 0"), "batch"),
        (("[[reading]]", "[[readings]]"), "reading"),
        (("watts = 420", "watts = "), "not TOML"),
    ],
)
def test_a_reading_that_says_too_little_is_refused_and_nothing_is_written(tmp_path, change, named):
    assert change[0] in READINGS
    (tmp_path / "readings.toml").write_text(READINGS.replace(*change))
    with pytest.raises(UserError, match=named) as e:
        calibrate_device("rtx 4090", tmp_path / "readings.toml", tmp_path / "mine.toml")
    assert e.value.hint and not (tmp_path / "mine.toml").exists()


def test_files_that_are_not_there_or_have_other_names(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_readings(tmp_path / "none.toml", CARD)
    with pytest.raises(UserError, match=r"mine\.txt"):
        calibrate_device("rtx 4090", tmp_path / "none.toml", tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("layers = 32", "layers = 0"), "above 0"),
        (("runtime = ", "runtimes = "), "runtimes"),
        (("joules_per", "j"), "j_output_token"),
    ],
)
def test_readings_in_a_device_that_cannot_be(tmp_path, change, named):
    device, _ = with_readings(CARD, (reading(1.3, speed=None),))
    write_device(device, tmp_path / "mine.toml")
    text = (tmp_path / "mine.toml").read_text()
    assert change[0] in text
    (tmp_path / "mine.toml").write_text(text.replace(*change))
    with pytest.raises(UserError, match=named):
        read_device(tmp_path / "mine.toml")

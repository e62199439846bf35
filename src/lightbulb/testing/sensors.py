"""What every sensor must hold: it is cumulative, its windows add up, and a device that is gone gives no figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from lightbulb.energy.meter import Meter
from lightbulb.energy.sensors import Sensor
from lightbulb.energy.sensors.replay import ReplaySensor
from lightbulb.energy.sensors.summing import to_sum


@dataclass(frozen=True)
class SensorCase:
    """A sensor whose source the test holds in its hands.

    Attributes:
        sensor: the sensor
        clock: seconds, which the sensor goes by
        spend: lets the source use so many watts for so many seconds of `clock`
        vanish: takes the device away
        reset: its counter starts anew; None where it has none
        slack_joules: rounding of the source
    """

    sensor: Sensor
    clock: Callable[[], float]
    spend: Callable[[float, float], None]
    vanish: Callable[[], None]
    reset: Callable[[], None] | None = None
    slack_joules: float = 0.02

    def joules(self) -> float:
        """Read now."""
        self.sensor.poll()
        return self.sensor.joules()


class SensorConformance:
    """It says what it is and what is wrong with it; it is cumulative, and never falls without the meter saying so;
    windows add up, whenever it is polled; a device that is gone leaves a figure without a value and a reason; nothing
    inside it is counted again. Needs a fixture `case` that gives a SensorCase."""

    WATTS = 50.0

    def test_it_says_what_it_is(self, case: SensorCase) -> None:
        sensor = case.sensor
        assert sensor.name and not any(c.isspace() for c in sensor.name) and sensor.name not in sensor.contains
        assert sensor.scope in ("chip", "board", "machine", "wall")
        assert sensor.limitations and all(limitation.strip().endswith(".") for limitation in sensor.limitations), (
            "flaws are sentences"
        )
        assert sensor.poll_seconds is None or sensor.poll_seconds > 0

    def test_it_counts_what_was_spent_and_never_falls(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        first = last = case.joules()
        spent = 0.0
        for seconds in (2.0, 0.0, 0.25, 30.0):
            case.spend(seconds, self.WATTS)
            spent, before, last = spent + seconds * self.WATTS, last, case.joules()
            assert math.isfinite(last) and last >= before
            assert abs(last - first - spent) <= case.slack_joules

    def test_windows_are_additive(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        outer, parts = self._windows(case, (3.0, 0.5, 7.25))
        assert all(part >= 0 for part in parts)
        assert abs(sum(parts) - outer) <= case.slack_joules and abs(outer - 10.75 * self.WATTS) <= case.slack_joules

    def test_polling_phase_does_not_matter(self, case: SensorCase) -> None:
        case.spend(1.0, self.WATTS)
        start = case.joules()
        case.spend(4.0, self.WATTS)
        middle = case.joules()
        for seconds in (0.01, 1.99, 0.7, 1.3):
            case.spend(seconds, self.WATTS)
            case.joules()
        assert abs((case.joules() - middle) - (middle - start)) <= case.slack_joules

    def test_a_vanished_device_gives_no_figure_and_says_why(self, case: SensorCase) -> None:
        with Meter([case.sensor], clock=case.clock).window("work") as window:
            case.spend(1.0, self.WATTS)
            case.vanish()
            case.sensor.poll()
        figure = window.reading.by_sensor[case.sensor.name]
        assert figure.value is None and window.reading.joules.value is None
        assert "did not answer (" in figure.method and "()" not in figure.method

    def test_a_reset_is_said(self, case: SensorCase) -> None:
        if case.reset is None:
            pytest.skip("this source has no counter that starts anew")
        case.spend(10.0, self.WATTS)
        with Meter([case.sensor], clock=case.clock).window("work") as window:
            case.spend(1.0, self.WATTS)
            window.so_far()
            case.reset()
        figure = window.reading.by_sensor[case.sensor.name]
        assert figure.value is not None and figure.value >= 0 and "fell 1 time" in figure.method

    def test_nothing_inside_it_is_counted_again(self, case: SensorCase) -> None:
        sensor = case.sensor

        def stand_in(name: str) -> Sensor:
            return ReplaySensor([(0.0, 0.0)], case.clock, name=name, scope=sensor.scope)

        inside = [stand_in(name.replace("*", "anything")) for name in sensor.contains]
        outside = [] if "*" in sensor.contains else [stand_in("elsewhere")]
        assert to_sum([sensor, *inside, *outside]) == to_sum([sensor, *outside]) == [sensor, *outside]

    def test_closing_twice_is_fine(self, case: SensorCase) -> None:
        case.sensor.close()
        case.sensor.close()

    def _windows(self, case: SensorCase, seconds: Sequence[float]) -> tuple[float, list[float]]:
        """Joules of a window, and of the neighbouring ones in it."""
        meter, name, parts = Meter([case.sensor], clock=case.clock), case.sensor.name, []
        with meter.window("outer") as outer:
            for piece in seconds:
                with meter.window("part") as part:
                    case.spend(piece, self.WATTS)
                    case.sensor.poll()
                parts.append(part.reading.by_sensor[name].value or 0.0)
        return outer.reading.by_sensor[name].value or 0.0, parts

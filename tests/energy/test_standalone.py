"""`lightbulb.meter` measures anybody's code, once, also when it raises, and needs nothing heavy."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from lightbulb.core.errors import UserError
from lightbulb.energy import standalone
from lightbulb.energy.meter import Meter
from lightbulb.energy.sensors.base import Sensor
from lightbulb.energy.standalone import meter


class Dial(Sensor):
    """A counter set by hand."""

    def __init__(self, name: str = "package-0"):
        self.name, self.scope = name, "chip"
        self.raw, self.closed = 100.0, False

    def joules(self) -> float:
        return self.raw

    def close(self) -> None:
        self.closed = True


class Hand:
    """A clock moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dial(monkeypatch) -> Dial:
    """The only counter of this machine."""
    dial = Dial()
    monkeypatch.setattr(standalone, "Meter", lambda: Meter([dial]))
    return dial


@pytest.fixture
def clocks(monkeypatch) -> tuple[Hand, Hand]:
    """A machine without counters whose clocks are moved by hand: wall, CPU."""
    wall, cpu = Hand(), Hand()
    monkeypatch.setattr(standalone, "Meter", lambda: Meter([], clock=wall, cpu_clock=cpu, threads=2))
    return wall, cpu


def test_the_figures_of_a_block(dial, capsys):
    with meter("work", zone="FRA", pue=1.5) as m:
        dial.raw += 1800.0
        assert m.joules.value == 1800.0  # also while it runs
        dial.raw += 1800.0
    dial.raw += 5000.0  # after the block: not ours
    assert (m.joules.value, m.joules.unit, m.joules.source) == (3600.0, "J", "measured")
    assert m.wall_seconds.value > 0 and m.wall_seconds.unit == "s"
    assert m.cpu_seconds.value >= 0 and m.cpu_seconds.scope == "process"
    from lightbulb.energy.carbon import find_zone

    assert m.grams_co2e.value == pytest.approx(0.001 * 1.5 * find_zone("FRA").grams_co2e_per_kwh)
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("work: 3,600 J (measured)") and told.err.count("\n") == 1
    assert dial.closed


def test_without_counters_it_is_an_estimate_with_an_interval(clocks):
    wall, cpu = clocks
    with meter(quiet=True) as m:
        wall.now, cpu.now = 10.0, 15.0
    assert (m.wall_seconds.value, m.cpu_seconds.value) == (10.0, 15.0)
    assert m.joules.source == "estimated" and m.joules.low < m.joules.value < m.joules.high
    assert m.grams_co2e.low < m.grams_co2e.value < m.grams_co2e.high


def test_quiet_says_nothing(dial, capsys):
    with meter(quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


def test_as_a_decorator_every_call_is_a_window_and_a_row(dial, tmp_path, capsys):
    @meter("square", csv=tmp_path / "emissions.csv")
    def square(x: int) -> int:
        """Doc."""
        dial.raw += x
        return x * x

    assert (square(3600), square(7200), square.__doc__) == (3600**2, 7200**2, "Doc.")
    rows = list(csv.DictReader((tmp_path / "emissions.csv").open()))
    assert [float(r["energy_consumed"]) for r in rows] == pytest.approx([0.001, 0.002])
    assert {r["project_name"] for r in rows} == {"square"} and rows[0]["run_id"] != rows[1]["run_id"]
    assert capsys.readouterr().err.count("square: ") == 2


def test_what_raised_has_spent_its_energy_too(dial, tmp_path):
    with pytest.raises(RuntimeError, match="mine"), meter(csv=tmp_path / "new" / "emissions.csv", quiet=True) as m:
        dial.raw += 36.0
        raise RuntimeError("mine")
    assert m.joules.value == 36.0 and dial.closed
    (row,) = csv.DictReader((tmp_path / "new" / "emissions.csv").open())
    assert float(row["energy_consumed"]) == pytest.approx(1e-5)


@pytest.mark.parametrize("bad", [{"zone": "Atlantis"}, {"pue": 0.5}, {"csv": "."}])
def test_bad_arguments_are_refused_before_the_work(dial, bad):
    begun = False
    with pytest.raises(UserError), meter(**bad):
        begun = True
    assert not begun


def test_it_is_imported_quickly_and_without_the_rest():
    code = (
        "import sys; import lightbulb.energy.standalone; "
        "print([m for m in ('torch', 'transformers', 'pandas', 'plotly', 'tyro', 'lightbulb.api') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_example_runs(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "meter.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "g CO2e" in done.stdout and (tmp_path / "emissions.csv").stat().st_size > 0
    assert done.stderr.startswith("as a ")

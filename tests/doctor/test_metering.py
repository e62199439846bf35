"""Sensors that answer, those that do not, and the estimate beside them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from machines import server, write

from lightbulb.doctor import metering
from lightbulb.energy.estimate import estimate_joules
from lightbulb.energy.processor import threads_held
from lightbulb.energy.sensors.command import COMMAND, FILE


def powercap(root: Path, zones: dict[str, str]) -> Path:
    for zone, name in zones.items():
        folder = f"sys/class/powercap/{zone}"
        write(root, {f"{folder}/name": name, f"{folder}/max_energy_range_uj": "262143328850"})
        write(root, {f"{folder}/energy_uj": "1000000"})
    return root


def test_rapl_that_only_root_may_read():
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: other users must be able to walk to it
        root = powercap(server(Path(folder)), {"intel-rapl:0": "package-0"})
        root.chmod(0o755)
        (root / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            energy = metering.look(root, {})
        finally:
            if was_root:
                os.seteuid(0)
    assert "package-0" not in {sensor.name for sensor in energy.sensors}
    assert any("sudo chmod a+r" in diagnostic for diagnostic in energy.diagnostics)


def test_what_contains_all_others_is_the_sum(tmp_path):
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "dram", "intel-rapl:1": "psys"}
    energy = metering.look(powercap(server(tmp_path), zones), {"CUDA_VISIBLE_DEVICES": ""})
    found = {s.name: s for s in energy.sensors}
    assert {name: found[name].in_sum for name in ("package-0", "dram-0", "psys")} == {
        "package-0": False,
        "dram-0": False,
        "psys": True,
    }
    assert found["psys"].scope == "board" and found["psys"].limitations


def test_the_estimate_is_of_the_machine_that_was_read(tmp_path):
    root = server(tmp_path)
    energy, threads = metering.look(root, {}), threads_held(root)
    for watts, cpu_seconds in ((energy.idle, 0), (energy.busy, threads * 10)):
        ten_seconds = estimate_joules(cpu_seconds, 10, threads, "amd-epyc-gen4")
        assert (watts.unit, watts.source, watts.scope) == ("W", "estimated", "wall")
        assert watts.value == pytest.approx(ten_seconds.value / 10)
        assert watts.low < watts.value < watts.high
    assert energy.idle.value < energy.busy.value


def test_an_unknown_processor_gets_the_pooled_estimate(tmp_path):
    assert "unknown family" in metering.look(tmp_path, {}).busy.method


def test_a_meter_that_the_user_can_add_or_has_added(tmp_path):
    assert [COMMAND in line or FILE in line for line in metering.look(tmp_path, {}).add] == [True, True]
    file = write(tmp_path, {"plug": "12.5"}) / "plug"
    energy = metering.look(tmp_path, {FILE: f"watts: {file}"})
    assert not any(FILE in line for line in energy.add)
    assert [s.in_sum for s in energy.sensors if s.name == "power-file"] == [True]


def test_a_meter_that_gives_nothing_is_a_finding_not_a_failure(tmp_path):
    energy = metering.look(powercap(tmp_path, {"intel-rapl:0": "package-0"}), {FILE: f"watts: {tmp_path}/absent"})
    assert FILE in energy.diagnostics[0] and "absent" in energy.diagnostics[0]
    assert "package-0" in {s.name for s in energy.sensors}


def test_the_zone_that_carbon_assumes():
    grid = metering.grid()
    assert grid.zone == "World" and "--zone" in grid.hint
    assert grid.intensity.low < grid.intensity.value < grid.intensity.high

"""The catalogue of devices: that it holds together, that names find it, and devices that a user describes."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from samples import published

from lightbulb.core.errors import UserError
from lightbulb.energy.tables import date_taken
from lightbulb.predicting.devices import CPU_KINDS, KINDS, Device, devices, find_device, read_device

MINE = """
name = "my-board"
kind = "board"
memory_gb = 8
bandwidth_gbs = 17.1
fp32_tflops = 0.15
power_watts = 12.0
idle_watts = 3
scope = "wall"
"""


def test_at_least_thirty_devices_of_every_kind():
    assert len(devices()) >= 45
    assert {d.kind for d in devices()} == set(KINDS) and set(KINDS) >= CPU_KINDS
    assert date_taken("devices") == "2026-11-21"


@pytest.mark.parametrize("device", devices(), ids=lambda d: d.name)
def test_a_row_holds_together(device: Device):
    assert device.sources and all(len(s) > 5 for s in device.sources) and device.label
    assert device.year is not None and 2015 <= device.year <= 2026
    assert 0 < device.idle_watts < device.power_watts
    assert (device.rest_watts == 0) == (device.scope in ("machine", "wall"))  # the whole is in the limit, or it is not
    if device.fp16_tflops is not None:
        assert device.fp16_tflops >= device.fp32_tflops
    if device.is_cpu or device.kind == "microcontroller":
        assert device.threads is not None
    else:
        assert device.threads is None
    if device.link_gbs is not None:
        assert device.link_gbs < device.bandwidth_gbs
    assert "estimated" in device.note or device.name == "tpu-v4" or device.scope == "wall" or device.kind == "board"


@pytest.mark.parametrize("device", devices(), ids=lambda d: d.name)
def test_the_time_to_read_all_memory_is_that_of_its_kind(device: Device):
    """A slip of three zeros in a unit shows here: 1 ms of a microcontroller, a second or two of a server."""
    assert 4e-4 < device.memory_gb / device.bandwidth_gbs < 3
    assert 0.05 < device.bandwidth_gbs / device.power_watts < 20  # GB/s a watt
    assert 0.1 < 1e3 * device.fp32_tflops / device.bandwidth_gbs < 400  # operations a byte


@pytest.mark.parametrize(
    "family",
    [
        "p100-16gb v100-32gb a100-40gb a100-80gb h100-80gb h200 b200",
        "t4 a10 a40 l40s",
        "mi210 mi250x mi300x",
        "rtx-4060 rtx-4070 rtx-4080 rtx-4090 rtx-5090",
        "m1 m2 m4 m3-max m4-max m2-ultra m3-ultra",
        "xeon-8380 xeon-8480 epyc-9654 epyc-9965",
        "jetson-nano xavier-nx orin-nano-8gb orin-nano-super agx-orin-64gb",
        "raspberry-pi-zero-2w raspberry-pi-4 raspberry-pi-5",
        "a17-pro snapdragon-8-gen-3 snapdragon-8-elite",
    ],
)
def test_bandwidth_grows_along_a_family(family: str):
    found = [find_device(name) for name in family.split()]
    assert all(a.bandwidth_gbs < b.bandwidth_gbs for a, b in pairwise(found)), [d.bandwidth_gbs for d in found]


def test_tensor_figures_are_dense():
    """Twice the dense figure is what data sheets print large. H100 white paper: 989.4 and 1978.9; int8 is twice fp16
    wherever there are tensor cores of both."""
    h100 = find_device("h100-80gb")
    assert (h100.fp16_tflops, h100.int8_tops) == (989.4, 1978.9)
    for name in ("a100-80gb", "a30", "l4", "l40s", "t4", "h200", "b200", "mi300x", "xeon-8480", "agx-orin-64gb"):
        device = find_device(name)
        assert device.int8_tops == pytest.approx(2 * (device.fp16_tflops or 0), rel=0.03), name


def test_peaks_of_cpus_are_cores_times_clock_times_lanes():
    altra = find_device("Altra Q80-30")  # two 128-bit units: 2 x 4 lanes x 2 operations
    assert altra.fp32_tflops == pytest.approx(80 * 3.0e9 * 2 * 4 * 2 / 1e12)
    sapphire = find_device("Xeon 8480+")  # AMX: a 16 x 16 x 32 product in 16 cycles
    assert sapphire.fp16_tflops == pytest.approx(56 * 2.0e9 * 2 * 16 * 16 * 32 / 16 / 1e12, rel=1e-3)


def test_rest_of_a_dgx_is_its_maximum_without_its_gpus():
    for name, kilowatts in (("h100-80gb", 10.2), ("h200", 10.2), ("a100-80gb", 6.5), ("b200", 14.3)):
        device = find_device(name)
        assert 8 * (device.power_watts + (device.rest_watts or 0)) == pytest.approx(1000 * kilowatts)


def test_no_name_means_two_devices():
    owner: dict[str, str] = {}
    for device in devices():
        for word in {re.sub(r"[ _-]", "", w).casefold() for w in (device.name, device.label, *device.aliases)}:
            assert owner.setdefault(word, device.name) == device.name, word
            assert find_device(word) == device


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H100", "h100-80gb"),
        ("h100 sxm", "h100-80gb"),
        ("  NVIDIA H100 80GB HBM3 ", "h100-80gb"),
        ("H100-PCIe", "h100-pcie"),
        ("rtx4090", "rtx-4090"),
        ("RTX-4090 (undervolted)", "rtx-4090"),
        ("Raspberry Pi 5", "raspberry-pi-5"),
        ("Intel(R) Xeon(R) Platinum 8480+", "xeon-8480"),
        ("Apple M2 Ultra", "m2-ultra"),
        ("Apple M2 Ultra (llama.cpp)", "m2-ultra-cpu"),
        ("D5005", "fpga-matmul-free"),
    ],
)
def test_finds_as_people_write(text: str, name: str):
    assert find_device(text).name == name


def test_the_reference_tables_names_are_found():
    table = published("reference/energy_reference.csv").read_text()
    rows = csv.DictReader(line for line in table.splitlines() if not line.startswith("#"))
    found = {row["hardware"]: find_device(row["hardware"]).name for row in rows if "/" not in row["hardware"]}
    assert found["edge board"] == "raspberry-pi-4" and found["V100"] == "v100-32gb"
    assert found["H100-80GB"] == "h100-80gb" and found["A100-80GB"] == "a100-80gb" and found["A40"] == "a40"
    assert found["Intel i7-13700H (bitnet.cpp)"] == found["Intel i7-13700H (llama.cpp)"] == "i7-13700h"
    assert found["Apple M2 Ultra (bitnet.cpp)"] == found["Apple M2 Ultra (llama.cpp)"] == "m2-ultra-cpu"


def test_an_unknown_device_names_its_neighbours():
    with pytest.raises(UserError, match=r"(?s)'RTX 4091'.*did you mean rtx-4090.*predict --devices"):
        find_device("RTX 4091")
    for nothing in ("?!", "", "(h100)"):
        with pytest.raises(UserError, match=r"`lightbulb predict --devices` lists all"):
            find_device(nothing)


def test_a_device_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE + 'aliases = ["mine"]\nthreads = 4\nbandwidth_efficiency = 0.5\n')
    device = read_device(path)
    assert (device.name, device.label, device.memory_gb, device.threads) == ("my-board", "my-board", 8.0, 4)
    assert device.aliases == ("mine",) and device.sources == (str(path),) and device.is_cpu
    assert device.int8_tops is None and device.rest_watts is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("scope", "scoop"), "scoop: no such key"),
        (("memory_gb = 8\n", ""), "memory_gb: .*required"),
        (("memory_gb = 8", 'memory_gb = "8"'), "memory_gb: .*number"),
        (("memory_gb = 8", "memory_gb = true"), "memory_gb: .*number"),
        (("memory_gb = 8", "memory_gb = 0"), "memory_gb: .*greater than 0"),
        (("power_watts = 12.0", "power_watts = -1"), "power_watts: .*greater than 0"),
        (("power_watts = 12.0", "power_watts = inf"), "power_watts: .*finite"),
        (("power_watts = 12.0", "power_watts = 2"), "idle_watts 3 must be less than power_watts 2"),
        (('kind = "board"', 'kind = "toaster"'), "kind: .*'laptop-gpu'"),
        (('"wall"', '"wall"\nbandwidth_efficiency = 1.5'), "bandwidth_efficiency: .*less than or equal to 1"),
        (('"wall"', '"wall"\nthreads = 2.5'), "threads: .*integer"),
        (('name = "my-board"', "name = "), "not TOML"),
    ],
)
def test_a_bad_description_gives_one_clear_error(tmp_path: Path, change: tuple[str, str], message: str):
    path = tmp_path / "mine.toml"
    assert change[0] in MINE
    path.write_text(MINE.replace(*change))
    with pytest.raises(UserError, match=message) as error:
        read_device(path)
    assert error.value.where == str(path) and error.value.hint and "\n" not in error.value.what


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(UserError, match="No such file"):
        read_device(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        read_device(tmp_path / "bad.toml")


def test_idle_above_the_limit_is_refused():
    with pytest.raises(ValueError, match="idle_watts"):
        replace(find_device("h100"), idle_watts=900.0)

"""What the doctor reads of machines with and without the usual files."""

from __future__ import annotations

import pytest
from machines import raspberry_pi, server, write

from lightbulb.core.figures import Figure
from lightbulb.doctor import machine
from lightbulb.energy.processor import read_cpu_times

NO_STEAL = Figure(value=None, unit="%")


def test_a_server_in_a_cgroup(tmp_path):
    seen = machine.look(server(tmp_path), machine.load_now(tmp_path), NO_STEAL)
    assert (seen.processor, seen.watts_row) == ("AMD EPYC 9654 [96 cores]", "amd-epyc-gen4")
    assert seen.watts_from == "amd-epyc-gen4, family from the model number (family 25, model 17)"
    assert (seen.threads_present, seen.quota_threads) == (4, 1.5) and 1 <= seen.threads_held <= 2
    assert seen.memory.value == 8_000_000 * 1024 and seen.memory_available.value == 4_000_000 * 1024
    assert seen.memory_limit.value == 2e9 and seen.load == 0.25
    assert seen.virtual is False and "no hypervisor flag" in seen.virtual_known_by


def test_an_arm_board(tmp_path):
    seen = machine.look(raspberry_pi(tmp_path), None, NO_STEAL)
    assert seen.processor == "Raspberry Pi 5 Model B Rev 1.0, Arm implementer 0x41 part 0xd0b"
    assert (seen.watts_row, seen.watts_rows) == (None, None) and "Arm Cortex-A76" in seen.watts_from
    assert seen.threads_present == 4 and seen.virtual is None


def test_what_is_not_there_is_not_known(tmp_path):
    """An empty file system: nothing is guessed, and nothing is 0."""
    seen = machine.look(
        tmp_path, machine.load_now(tmp_path), machine.steal_between(None, read_cpu_times(tmp_path / "proc/stat"))
    )
    known = seen.model_dump(exclude={"architecture", "threads_held", "virtual_known_by", "system", "python"})
    assert {name: v["value"] if isinstance(v, dict) else v for name, v in known.items()} == dict.fromkeys(known)


@pytest.mark.parametrize(
    ("files", "virtual"),
    [
        ({"proc/cpuinfo": "processor : 0\nflags : fpu hypervisor avx2\n"}, True),
        ({"proc/cpuinfo": "processor : 0\nflags : fpu avx2\n", "sys/class/dmi/id/sys_vendor": "QEMU\n"}, False),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, True),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m7g.large\n"}, True),
        ({"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "m7g.metal\n"}, False),
        ({"sys/class/dmi/id/sys_vendor": "Ampere\n"}, False),
        ({"proc/device-tree/hypervisor/compatible": "xen,xen\0"}, True),
        ({}, None),
    ],
)
def test_virtual_or_not(tmp_path, files, virtual):
    seen = machine.look(write(tmp_path, files), None, NO_STEAL)
    assert seen.virtual is virtual and seen.virtual_known_by


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None, None),
        (
            {
                "proc/self/cgroup": "4:memory:/a\n1:cpu,cpuacct:/a\n9:name=systemd:/\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            3.0,
            1e6,
        ),
    ],
)
def test_limits_of_cgroups(tmp_path, files, quota, limit):
    seen = machine.look(write(tmp_path, files), None, NO_STEAL)
    assert (seen.quota_threads, seen.memory_limit.value) == (quota, limit)


def test_steal_is_a_share_of_all_time(tmp_path):
    before = read_cpu_times(server(tmp_path) / "proc/stat")
    write(tmp_path, {"proc/stat": "cpu  150 0 120 710 0 0 0 120 70 0\n"})
    assert machine.steal_between(before, read_cpu_times(tmp_path / "proc/stat")).value == pytest.approx(
        20.0
    )  # 20 of 100 ticks
    assert machine.steal_between(before, before).value is None  # no time has passed


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-1", 2), ("0-3,8", 5), ("0,2,4-5", 4)])
def test_lists_of_processors(text, count):
    assert machine.count_listed(text) == count

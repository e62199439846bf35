"""Sources that the tests hold in their hands: synthetic sysfs trees, a stand-in for NVIDIA's driver, a clock."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850


def put(path: Path, text: str) -> None:
    """Writes the file at once, as sysfs does: a meter's thread may read it meanwhile."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.replace(path)


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tree:
    """A powercap tree: zones by folder name, e.g. {"intel-rapl:0": "package-0"}."""

    def __init__(self, root: Path, zones: dict[str, str]):
        self.root, self.powercap = root, root / "sys/class/powercap"
        (self.powercap / "intel-rapl").mkdir(parents=True)  # the control type: no counter in it
        for zone, name in zones.items():
            (self.powercap / zone).mkdir()
            (self.powercap / zone / "name").write_text(name + "\n")
            (self.powercap / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.set(zone, 0)

    def set(self, zone: str, uj: float) -> None:
        put(self.powercap / zone / "energy_uj", f"{int(uj)}\n")

    def get(self, zone: str) -> int:
        return int((self.powercap / zone / "energy_uj").read_text())

    def cpuinfo(self, model: int) -> None:
        (self.root / "proc").mkdir()
        text = f"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: {model}\nstepping\t: 1\n\n"
        (self.root / "proc/cpuinfo").write_text(text)


class Files:
    """A folder of small files, as sysfs has: a monitor (hwmon) or a battery."""

    def __init__(self, folder: Path, **files: object):
        self.folder = folder
        folder.mkdir(parents=True)
        self.set(**files)

    def set(self, **files: object) -> None:
        for name, value in files.items():
            put(self.folder / name, f"{value}\n")

    def get(self, name: str) -> float:
        return float((self.folder / name).read_text())

    def drop(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()


def monitor(root: Path, number: int, name: str, **files: object) -> Files:
    return Files(root / f"sys/class/hwmon/hwmon{number}", name=name, **files)


def battery(root: Path, name: str = "BAT0", **files: object) -> Files:
    return Files(root / "sys/class/power_supply" / name, type="Battery", **{"status": "Discharging"} | files)


class Driver:
    """Stands in for pynvml. `devices` maps a UUID to (joules, watts); None: not supported."""

    class NVMLError(Exception):
        pass

    def __init__(
        self,
        devices: dict[str, tuple[float | None, float | None]],
        *,
        present: bool = True,
        name: str = "NVIDIA H100 80GB HBM3",
        mig: bool | None = None,
    ):
        self.devices, self.present, self.name, self.mig, self.users = devices, present, name, mig, 0

    def nvmlInit(self):
        if not self.present:
            raise self.NVMLError("Driver Not Loaded")
        self.users += 1

    def nvmlShutdown(self):
        self.users -= 1

    def nvmlDeviceGetCount(self):
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index):
        return list(self.devices)[index]

    def nvmlDeviceGetUUID(self, device):
        return device

    def nvmlDeviceGetName(self, device):
        return self.name

    def nvmlDeviceGetMigMode(self, device):
        if self.mig is None:
            raise self.NVMLError("Not Supported")
        return [int(self.mig), int(self.mig)]

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        return self._milli(self.devices[device][0])

    def nvmlDeviceGetPowerUsage(self, device):
        return self._milli(self.devices[device][1])

    def _milli(self, value):
        if value is None:
            raise self.NVMLError("Not Supported")
        return int(value * 1000)


class Chip:
    """Stands in for zeus_apple_silicon: joules by part, None for what the chip does not tell."""

    def __init__(self, **joules: float | None):
        self.joules = joules

    def AppleEnergyMonitor(self):
        return self

    def get_cumulative_energy(self):
        if not self.joules:
            raise RuntimeError("Failed to create IOReport subscription.")

        class Metrics:
            pass

        told = Metrics()
        for part in ("cpu_total", "gpu", "gpu_sram", "dram", "ane"):
            value = self.joules.get(part)
            setattr(told, f"{part}_mj", None if value is None else int(value * 1000))
        return told

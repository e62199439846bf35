"""Readings in the forms that other tools read: CodeCarbon's emissions.csv, a model card, Prometheus.

What was not measured is missing there too: an empty field, no key, no sample. Never 0.
"""

from __future__ import annotations

import os
import platform
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, total
from lightbulb.core.files import plain_os_errors
from lightbulb.energy.carbon import JOULES_PER_KWH, find_zone, grams_co2e
from lightbulb.energy.meter import Reading
from lightbulb.energy.processor import processor_name
from lightbulb.energy.sheets import Cell, Sheet, read_sheet

# CodeCarbon 3.3.2, codecarbon/output_methods/emissions_data.py: names and order as it writes them.
EMISSIONS_COLUMNS = (
    "timestamp",
    "project_name",
    "run_id",
    "experiment_id",
    "duration",
    "emissions",
    "emissions_rate",
    "cpu_power",
    "gpu_power",
    "ram_power",
    "cpu_energy",
    "gpu_energy",
    "ram_energy",
    "energy_consumed",
    "water_consumed",
    "country_name",
    "country_iso_code",
    "region",
    "cloud_provider",
    "cloud_region",
    "os",
    "python_version",
    "codecarbon_version",
    "cpu_count",
    "cpu_model",
    "gpu_count",
    "gpu_model",
    "longitude",
    "latitude",
    "ram_total_size",
    "tracking_mode",
    "cpu_utilization_percent",
    "gpu_utilization_percent",
    "ram_utilization_percent",
    "ram_used_gb",
    "on_cloud",
    "pue",
    "wue",
)
_NEEDED_COLUMNS = {"timestamp", "project_name", "duration", "emissions", "energy_consumed"}  # since CodeCarbon 1.0
# The sensors behind CodeCarbon's three parts
_PARTS = {"cpu": r"package-.*(?<!-mirror)", "gpu": r"(amd)?gpu-\d+", "ram": r"dram-.*"}

_OTHER_FILE = "choose another file with csv="


def emissions_row(
    reading: Reading,
    *,
    zone: str | None = None,
    pue: float = 1.0,
    run_id: str | None = None,
    finished: datetime | None = None,
) -> dict[str, Cell]:
    """One row of emissions.csv, a key a column: seconds, kg CO2e and kg/s, watts and kWh, GB as 2^30 bytes.

    The parts (cpu, gpu, ram) are filled where sensors tell them apart; an estimate is one figure, in energy_consumed.
    None is written as an empty field. pandas reads it as NaN and leaves it out of sums and means; CodeCarbon appends
    behind such rows; its carbonboard adds up with Python's `sum` and shows "nan" where the total itself is missing.

    Args:
        reading: what a window took
        zone: as for `grams_co2e`
        pue: multiplies watts and kWh, as in CodeCarbon
        run_id: new unless given
        finished: local time, now unless given

    Raises:
        UserError: as `grams_co2e`
        ValueError: likewise
    """
    grams = grams_co2e(reading.joules, zone, pue).value
    seconds = reading.wall_seconds
    kilograms = None if grams is None else grams / 1000
    place = None if zone is None else find_zone(zone)
    row: dict[str, Cell] = dict.fromkeys(EMISSIONS_COLUMNS)
    row |= _about_the_machine(reading)
    row |= {
        "timestamp": (finished or datetime.now()).strftime("%Y-%m-%dT%H:%M:%S"),
        "project_name": reading.name,
        "run_id": run_id or str(uuid.uuid4()),
        "duration": seconds,
        "emissions": kilograms,
        "emissions_rate": None if kilograms is None or not seconds else kilograms / seconds,
        "energy_consumed": _kwh(reading.joules.value, pue),
        "country_name": place.name if place else None,
        "country_iso_code": place.code if place and place.is_country else None,
        "pue": pue,
    }
    for part, pattern in _PARTS.items():
        joules = _joules_of(reading, pattern)
        row[f"{part}_energy"] = _kwh(joules, pue)
        row[f"{part}_power"] = None if joules is None or not seconds else joules * pue / seconds
    return row


def append_emissions(path: Path, row: Mapping[str, Cell]) -> None:
    """Adds a row to a file in the file's own form: columns, delimiter, line ends, decimal sign and encoding.

    Args:
        path: a new file or one that CodeCarbon (any version), lightbulb or a spreadsheet wrote
        row: of `emissions_row`

    Raises:
        UserError: as `check_emissions`
        StorageFull: the disk is full
    """
    there = check_emissions(path)
    with plain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if there is None:
            there = Sheet(EMISSIONS_COLUMNS)
            text = there.line(EMISSIONS_COLUMNS) + there.line([row.get(name) for name in EMISSIONS_COLUMNS])
        else:
            named = {name.casefold(): cell for name, cell in row.items()}
            text = there.line([named.get(column.strip().casefold()) for column in there.header])
            text = text if there.ended else there.newline + text
        with path.open("ab") as f:
            f.write(text.encode(there.encoding, "backslashreplace"))  # at once: several processes may share the file


def check_emissions(path: Path) -> Sheet | None:
    """How the rows of a file that is there are written: to be asked before the work, not after it.

    Returns:
        None for a new or empty file.

    Raises:
        UserError: `append_emissions` could not write
    """
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if path.is_dir() or (nearest != path and not nearest.is_dir()) or not os.access(nearest, os.W_OK):
        raise UserError("no file can be written there", where=str(path), hint=_OTHER_FILE)
    if not path.exists():
        return None
    if not os.access(path, os.R_OK):
        raise UserError("this file cannot be read, so no row can follow its own", where=str(path), hint=_OTHER_FILE)
    return read_sheet(path, _NEEDED_COLUMNS)


def co2_eq_emissions(
    grams: Figure,
    *,
    training_type: Literal["pre-training", "fine-tuning"],
    geographical_location: str | None = None,
    hardware_used: str | None = None,
) -> dict[str, str | float] | None:
    """The block of that name of a Hugging Face model card (https://huggingface.co/docs/hub/model-cards-co2), for
    `ModelCardData(co2_eq_emissions=...)`.

    The block has room for one number: the interval, and where it comes from, stand in its `source`.

    Args:
        grams: g CO2e
        training_type: of the training that caused them
        geographical_location: where
        hardware_used: on what

    Returns:
        None where they were not measured.

    Raises:
        ValueError: grams in another unit
    """
    if grams.unit != "g CO2e":
        raise ValueError(f"grams wanted, not {grams.unit!r}")
    if grams.value is None:
        return None
    facts: dict[str, str | float | None] = {
        "emissions": float(f"{grams.value:.4g}"),
        "source": f"lightbulb: {grams} ({grams.source})" + (f", {grams.method}" if grams.method else ""),
        "training_type": training_type,
        "geographical_location": geographical_location,
        "hardware_used": hardware_used,
    }
    return {key: value for key, value in facts.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of Prometheus. Counters end in "_total".

    Attributes:
        name: of the family
        help: what it is, in words
        kind: "counter" or "gauge"
        samples: (labels, figure), no two with the same labels
    """

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    samples: tuple[tuple[Mapping[str, str], Figure], ...]


def reading_metrics(readings: Sequence[Reading]) -> tuple[Metric, ...]:
    """What windows took, labelled by their names, which must differ."""
    windows = [({"window": r.name}, r) for r in readings]
    return (
        Metric(
            "lightbulb_energy_joules_total",
            "Energy that the window took.",
            "counter",
            tuple((labels, r.joules) for labels, r in windows),
        ),
        Metric(
            "lightbulb_cpu_seconds_total",
            "User and system seconds of the process and of its children that have ended.",
            "counter",
            tuple((labels, r.cpu_seconds) for labels, r in windows),
        ),
        Metric(
            "lightbulb_wall_seconds_total",
            "Seconds by the clock.",
            "counter",
            tuple((labels, Figure(value=r.wall_seconds, unit="s")) for labels, r in windows),
        ),
        Metric(
            "lightbulb_sensor_joules_total",
            "What one sensor read in the window; sensors contain each other: do not add them up.",
            "counter",
            tuple((labels | {"sensor": name}, f) for labels, r in windows for name, f in r.by_sensor.items()),
        ),
    )


def prometheus_text(metrics: Iterable[Metric]) -> str:
    """Text exposition format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), by Prometheus' own
    client.

    A sample is labelled with its figure's source and scope; intervals are gauges beside it, with _low and _high for
    _total. A figure without a value has no sample.

    Raises:
        ValueError: two samples with the same labels
    """
    from prometheus_client import generate_latest

    return generate_latest(_Collector(lambda: metrics)).decode()


@contextmanager
def serve_metrics(read: Callable[[], Iterable[Metric]], port: int) -> Iterator[int]:
    """Serves metrics at http://127.0.0.1:port/metrics while the block runs, in the format that is asked for. Only this
    machine can reach it.

    Args:
        read: gives them; runs in other threads
        port: 0: the system chooses

    Yields:
        The port.

    Raises:
        UserError: the port cannot be had
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, "127.0.0.1", _Collector(read))
    except (OSError, OverflowError) as e:
        raise UserError(
            f"cannot serve on port {port}: {e}", where="`serve_metrics`", hint="choose another port, e.g. 9464"
        ) from e
    with server:
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class _Collector:
    """What prometheus_client asks for families, each time that it is scraped."""

    read: Callable[[], Iterable[Metric]]

    def collect(self) -> list[Any]:
        return [_family(*family) for metric in self.read() for family in _families(metric)]


def _kwh(joules: float | None, pue: float) -> float | None:
    return None if joules is None else joules * pue / JOULES_PER_KWH


def _joules_of(reading: Reading, pattern: str) -> float | None:
    """Sum of the sensors of that name; None when there is none, or when one of them did not answer."""
    figures = [f for name, f in reading.by_sensor.items() if re.fullmatch(pattern, name)]
    return total(figures, "J").value if figures else None


def _about_the_machine(reading: Reading) -> dict[str, Cell]:
    from lightbulb.core.version import __version__

    gpus = sum(re.fullmatch(_PARTS["gpu"], name) is not None for name in reading.by_sensor)
    return {
        "os": platform.platform(),
        "python_version": platform.python_version(),
        "codecarbon_version": f"lightbulb-{__version__}",  # who wrote the row
        "cpu_count": os.cpu_count(),
        "cpu_model": processor_name(),
        "gpu_count": gpus or None,  # no sensor does not mean no GPU
        "ram_total_size": _memory_gb(),
        "tracking_mode": "machine" if reading.by_sensor else "process",
    }


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


_Sample = tuple[Mapping[str, str], float]


def _families(metric: Metric) -> Iterator[tuple[str, str, str, list[_Sample]]]:
    """(name, help, kind, samples) of the metric and of the ends of its intervals."""

    def samples(side: str) -> list[_Sample]:
        numbers = [
            (labels, figure, getattr(figure, side)) for labels, figure in metric.samples if figure.value is not None
        ]
        return [(_labels(labels, figure), number) for labels, figure, number in numbers if number is not None]

    yield metric.name, metric.help, metric.kind, samples("value")
    stem = metric.name.removesuffix("_total")
    for side, words in (("low", "Lower"), ("high", "Upper")):
        if ends := samples(side):
            yield f"{stem}_{side}", f"{words} end of the interval of {metric.name}.", "gauge", ends


def _labels(labels: Mapping[str, str], figure: Figure) -> dict[str, str]:
    return {**labels, "source": figure.source} | ({"scope": figure.scope} if figure.scope else {})


def _family(name: str, help: str, kind: str, samples: Sequence[_Sample]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if len({tuple(sorted(labels.items())) for labels, _ in samples}) < len(samples):
        raise ValueError(f"two samples of {name} with the same labels")
    counts = kind == "counter"
    family = CounterMetricFamily(name.removesuffix("_total"), help) if counts else GaugeMetricFamily(name, help)
    for labels, value in samples:
        family.add_sample(name, dict(labels), value)
    return family

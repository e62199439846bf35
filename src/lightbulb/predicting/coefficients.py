"""The few numbers that `predict` does not take from a data sheet: each has a meaning, and a width in which
people who measured it agree. Calibration (`calibration`) moves them within that width by published rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np

from lightbulb.predicting.scatter import Scatter


@dataclass(frozen=True, slots=True)
class Coefficient:
    """What is known of a coefficient before calibration.

    Attributes:
        name: of it
        value: before calibration
        spread: standard deviation of its logarithm
        meaning: in words, with unit
    """

    name: str
    value: float
    spread: float
    meaning: str


PRIORS: tuple[Coefficient, ...] = (
    Coefficient("gpu_awake", 0.2, 0.3, "GPU: share of idle-to-limit power drawn while kernels run, doing little"),
    Coefficient("gpu_memory", 0.65, 0.2, "GPU: share added when memory streams at its peak"),
    Coefficient("gpu_compute", 0.9, 0.25, "GPU: share added when the matrix units work at their peak"),
    Coefficient("cpu_awake", 0.5, 0.3, "CPU: share of idle-to-limit power drawn by busy threads that wait"),
    Coefficient("cpu_memory", 0.3, 0.4, "CPU: share added when memory streams at its peak"),
    Coefficient("cpu_compute", 0.6, 0.4, "CPU: share added when the vector units work at their peak"),
    Coefficient("gpu_memory_reach", 0.75, 0.15, "GPU: share of peak bandwidth that decoding reaches"),
    Coefficient(
        "kv_reach", 0.6, 0.25, "GPU: how much of that keys and values reach, read in pages by many small blocks"
    ),
    # llama.cpp on M2 Pro, M2 Ultra, M3 Max: seconds a token over bytes read, a 7B model in q4_0 and f16, are a line of
    # 0.76 to 0.98 of the peak and 4 to 6 ms that do not shrink (XiongjieDai/GPU-Benchmarks-on-LLM-Inference, issue 1)
    Coefficient("apple_memory_reach", 0.88, 0.1, "Apple GPU: share of peak bandwidth that decoding reaches"),
    Coefficient("gpu_compute_reach", 0.45, 0.3, "GPU: share of peak operations that products reach"),
    Coefficient("cpu_memory_reach", 0.6, 0.2, "CPU: share of peak bandwidth that decoding reaches"),
    Coefficient("cpu_compute_reach", 0.25, 0.4, "CPU: share of peak operations that products reach"),
    Coefficient("eager_seconds", 9e-4, 0.25, "eager torch: launching one layer, s"),
    Coefficient("graph_seconds", 1.5e-5, 0.4, "captured graphs and native code on a GPU: one layer beside its work, s"),
    Coefficient("metal_seconds", 1.5e-4, 0.4, "Metal, which captures no graphs: one layer beside its work, s"),
    Coefficient("cpu_seconds", 6e-5, 0.6, "native code on a CPU: joining all threads, some ten times in a layer, s"),
    Coefficient("host_seconds", 4e-4, 0.6, "llama.cpp and what is around it: a step on the host, the GPU idle, s"),
    Coefficient("logit_seconds", 5e-9, 0.6, "...sampling there: s for each entry of the vocabulary and sequence"),
    Coefficient("serve_seconds", 3e-3, 0.6, "batched servers: scheduling a step, the GPU idle, s"),
    Coefficient("sequence_seconds", 6e-5, 0.5, "...for one sequence: scheduling, sampling, others' prompts, s a step"),
    Coefficient("worker_seconds", 2e-3, 0.7, "...handing a step to several devices, s"),
    Coefficient("link_reach", 0.6, 0.3, "share of the link's bandwidth that an all-reduce reaches"),
    Coefficient("link_seconds", 1.5e-5, 0.4, "latency of one all-reduce between two devices, s"),
    Coefficient("rest", 0.8, 0.3, "share of `rest_watts` that the rest of the machine draws while it works"),
    Coefficient("supply_loss", 0.1, 0.3, "what the power supply loses, as a share of what it delivers"),
    Coefficient("chip_share", 0.55, 0.3, "share of what a whole machine draws above idle that its chip draws"),
    Coefficient("device_watts", 1.0, 0.0, "this device's power over that of its data sheet: readings tell it"),
    Coefficient("device_seconds", 1.0, 0.0, "this device's seconds over those of its data sheet: likewise"),
)
NAMES = tuple(c.name for c in PRIORS)
DEVICE = (
    "device_watts",
    "device_seconds",
)  # of one device: published rows leave them at 1, their spread is the scatter


@dataclass(frozen=True)
class Calibrated:
    """Coefficients as rows have shown them.

    Attributes:
        log_mean: of the coefficients' logarithms, [coefficients]
        covariance: of them, [coefficients, coefficients]
        joules_scatter: standard deviation of the logarithm that a row is expected to show beyond it, for joules
        seconds_scatter: likewise, for seconds
        rows: how many were used
        joules: scatter from source to source, by kind of measurement (docs/decisions.md)
        seconds: likewise
    """

    log_mean: np.ndarray
    covariance: np.ndarray
    joules_scatter: float
    seconds_scatter: float
    rows: int
    joules: Scatter = Scatter()
    seconds: Scatter = Scatter()

    @property
    def values(self) -> dict[str, float]:
        """The coefficients by name."""
        return by_name(self.log_mean)

    def of_kind(self, kind: str) -> Calibrated:
        """For a kind of measurement: what rows of one device share of its scatter is put into the device's own
        coefficients, which readings of a user can tell; the rest stays."""
        joules, seconds = self.joules.of(kind), self.seconds.of(kind)
        joules_within, seconds_within = min(self.joules_scatter, joules), min(self.seconds_scatter, seconds)
        shared = joules**2 - joules_within**2
        time = min(seconds**2 - seconds_within**2, shared)
        covariance = self.covariance.copy()
        for name, variance in zip(DEVICE, (shared - time, time), strict=True):
            covariance[NAMES.index(name), NAMES.index(name)] = variance
        return replace(self, covariance=covariance, joules_scatter=joules_within, seconds_scatter=seconds_within)


def by_name(log_values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Coefficients by name, from their logarithms."""
    return {name: float(np.exp(x)) for name, x in zip(NAMES, log_values, strict=True)}


def priors(joules_scatter: float = 0.3, seconds_scatter: float = 0.25) -> Calibrated:
    """Before any row was seen."""
    spread = np.array([c.spread for c in PRIORS])
    return Calibrated(np.log([c.value for c in PRIORS]), np.diag(spread**2), joules_scatter, seconds_scatter, 0)


@cache
def calibrated() -> Calibrated:
    """What ships: `energy/data/prediction.json`, written by `benchmarks/predict.py --write`."""
    record = json.loads((files("lightbulb.energy") / "data" / "prediction.json").read_text(encoding="utf-8"))
    if tuple(record["names"]) != NAMES:
        raise RuntimeError("prediction.json is of other coefficients: python benchmarks/predict.py --write")
    return Calibrated(
        np.array(record["log_mean"]),
        np.array(record["covariance"]),
        record["joules_scatter"],
        record["seconds_scatter"],
        record["rows"],
        Scatter(**record["joules"]),
        Scatter(**record["seconds"]),
    )


def as_record(found: Calibrated) -> Mapping[str, object]:
    """What prediction.json holds."""
    return {
        "names": list(NAMES),
        "values": {name: float(f"{value:.4g}") for name, value in found.values.items()},
        "log_mean": [round(float(x), 5) for x in found.log_mean],
        "covariance": [[round(float(x), 7) for x in row] for row in found.covariance],
        "joules_scatter": round(found.joules_scatter, 3),
        "seconds_scatter": round(found.seconds_scatter, 3),
        "rows": found.rows,
        "joules": _rounded(found.joules),
        "seconds": _rounded(found.seconds),
    }


def _rounded(scatter: Scatter) -> Mapping[str, object]:
    return {"kinds": {kind: round(s, 3) for kind, s in scatter.kinds.items()}, "other": round(scatter.other, 3)}

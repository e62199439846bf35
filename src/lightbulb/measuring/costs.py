"""From windows to what a prompt token, an output token and an answer cost.

Each trial has a window in which every answer has one token ("read") and, where answers are longer, one in which the
same prompts get their whole answers ("write"). With R and W what an answer costs in each, and n its mean tokens,

    per prompt token = R / prompt tokens        the first token comes with the reading, as does what a request costs
    per output token = (W - R) / (n - 1)
    per answer       = W, or R where there is no "write"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from lightbulb.core.figures import Figure, Scope, Source, bounds
from lightbulb.energy.meter import Reading
from lightbulb.measuring.protocol import BLOCK, Sample
from lightbulb.measuring.statistics import cases, median_figure, paired_difference, paired_ratio

CostName = Literal["cpu_seconds", "seconds", "joules", "net_joules"]
COSTS: tuple[CostName, ...] = get_args(CostName)
PER = ("prompt_token", "output_token", "answer")
NAMES = tuple(f"{cost}_per_{unit}" for cost in COSTS for unit in PER)
SPEEDS = {"tokens_per_second_prefill": "prompt_token", "tokens_per_second_decode": "output_token"}


@dataclass(frozen=True, slots=True)
class MeasuredTrial:
    """The windows of one trial.

    Attributes:
        read: in which every answer has one token
        write: in which the same prompts get their whole answers; None where one token is a whole answer
    """

    read: Sample
    write: Sample | None = None


@dataclass(frozen=True)
class Costs:
    """Costs of one model, trial by trial.

    Attributes:
        series: "<cost>_per_<unit>" -> [trials, 3], the three cases of `statistics.cases`; what was not measured is
            absent
        missing: why, by cost or by name
        joules: a figure that knows source, scope and method of all joules
        modelled: no counter read any part of them
    """

    series: dict[str, np.ndarray]
    missing: dict[str, str]
    joules: Figure
    modelled: bool

    @staticmethod
    def of(trials: Sequence[MeasuredTrial], idle: Figure | None, unseen: Mapping[str, str]) -> Costs:
        """The costs that windows show.

        Args:
            trials: windows of each
            idle: watts while nothing is asked; None where it was not measured
            unseen: why a cost cannot be seen
        """
        series: dict[str, np.ndarray] = {}
        missing = dict(unseen)
        for cost in (c for c in COSTS if c not in unseen):
            found = [_per_unit(trial, cost, idle) for trial in trials]
            if None in found:
                missing[cost] = _why_missing(trials, idle)
                continue
            for unit in PER:
                column = [row[unit] for row in found if row is not None and unit in row]
                if len(column) == len(trials):
                    series[f"{cost}_per_{unit}"] = np.array(column)
                else:
                    missing[f"{cost}_per_{unit}"] = "an answer is one token, which comes with the reading"
        reading = trials[0].read.reading
        return Costs(series, missing, reading.joules, modelled=_modelled(reading))

    @staticmethod
    def of_answers(samples: Sequence[Sample]) -> Costs:
        """Costs of whole answers alone: one window a trial, nothing told apart within an answer."""
        costs = Costs.of([MeasuredTrial(sample) for sample in samples], None, {"net_joules": "idling was not measured"})
        return replace(costs, series={k: v for k, v in costs.series.items() if k.endswith("_per_answer")})

    def as_dict(self) -> dict[str, Any]:
        """For a file: what `from_dict` reads."""
        series = {name: column.tolist() for name, column in self.series.items()}
        return {**asdict(self), "series": series, "joules": self.joules.model_dump()}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Costs:
        """What `as_dict` gave."""
        series = {name: np.array(column) for name, column in record["series"].items()}
        return Costs(**{**record, "series": series, "joules": Figure(**record["joules"])})

    def figures(self, windows: str) -> dict[str, Figure]:
        """Medians over trials of every name in NAMES and SPEEDS, with bootstrap intervals."""
        figures = {name: self._figure(name, windows) for name in NAMES}
        return figures | {name: self._speed(name, unit, windows) for name, unit in SPEEDS.items()}

    def _figure(self, name: str, windows: str) -> Figure:
        cost, _, unit = name.partition("_per_")
        is_joules = "joules" in cost
        symbol = "J" if is_joules else "s"
        if name not in self.series:
            return Figure(value=None, unit=symbol, method=self.missing.get(name) or self.missing.get(cost, ""))
        source: Source = "derived" if unit == "output_token" or cost == "net_joules" else "measured"
        scope: Scope | None = "process"
        methods = [f"median of {windows}", _HOW[unit]]
        if is_joules:
            source = "estimated" if self.joules.source == "estimated" else source
            scope = self.joules.scope
            methods += ["less what idling takes"] * (cost == "net_joules") + [
                f"in the first window: {self.joules.method}"
            ]
        return median_figure(self.series[name], symbol, "; ".join(methods), source=source, scope=scope)

    def _speed(self, name: str, unit: str, windows: str) -> Figure:
        seconds = self.series.get(f"seconds_per_{unit}")
        if seconds is None:
            why = self.missing.get(f"seconds_per_{unit}") or self.missing.get("seconds", "")
            return Figure(value=None, unit="tokens/s", method=why)
        if not np.all(seconds > 0):
            return Figure(value=None, unit="tokens/s", method="the difference of the windows vanishes in the noise")
        how = f"median of {windows}; 1 / seconds per {unit.replace('_', ' ')}, all prompts of a batch together"
        return median_figure(1 / seconds[:, 0], "tokens/s", how, source="derived", scope="process")


_HOW = {
    "prompt_token": "answers of one token / prompt tokens, so with what a request costs by itself",
    "output_token": "(whole answers - answers of one token) / further tokens, same prompts",
    "answer": "whole answers",
}


def _per_unit(trial: MeasuredTrial, cost: CostName, idle: Figure | None) -> dict[str, np.ndarray] | None:
    """The three cases of a cost per unit; None when a window does not have it."""
    read = _of_window(trial.read, cost, idle)
    if read is None:
        return None
    per_answer = read / trial.read.answers
    found = {"prompt_token": read / trial.read.prompt_tokens, "answer": per_answer}
    if trial.write is not None:
        write = _of_window(trial.write, cost, idle)
        if write is None:
            return None
        further = trial.write.output_tokens / trial.write.answers - trial.read.output_tokens / trial.read.answers
        found["answer"] = write / trial.write.answers
        if further > 0:
            found["output_token"] = (found["answer"] - per_answer) / further
    return found


def _why_missing(trials: Sequence[MeasuredTrial], idle: Figure | None) -> str:
    """What the first window without joules says of itself, else the idling."""
    windows = [sample.reading.joules for trial in trials for sample in (trial.read, trial.write) if sample is not None]
    return next((f.method for f in (*windows, *([idle] if idle else [])) if f.value is None), "idling was not measured")


def _modelled(reading: Reading) -> bool:
    """Whether no counter read any part of the joules."""
    return reading.joules.source == "estimated" and not reading.by_sensor


def _of_window(sample: Sample, cost: CostName, idle: Figure | None) -> np.ndarray | None:
    reading = sample.reading
    if cost == "cpu_seconds":
        return cases(reading.cpu_seconds)
    if cost == "seconds":
        return np.full(3, reading.wall_seconds)
    gross = cases(reading.joules)
    if cost == "joules" or gross is None:
        return gross
    watts = None if idle is None else cases(idle)
    if watts is None:
        return None
    if not _modelled(reading):
        watts = watts[[0, 2, 1]]  # a counter's joules are exact: the more of them idling took, the fewer are ours
    return gross - watts * reading.wall_seconds  # an estimate's ends share their watts with those of the idling


def ratios(ours: Costs, theirs: Costs) -> dict[str, Figure]:
    """Ours / theirs for every name that both have, paired trial by trial.

    Joules that are an estimate are watts x CPU seconds + other watts x wall seconds with the same unknown watts on
    both sides, so their ratio lies between those of CPU seconds and of wall seconds: its interval spans both. Less
    idling, only the CPU seconds are left.
    """
    found: dict[str, Figure] = {}
    for name in (n for n in NAMES if n in ours.series and n in theirs.series):
        ratio = paired_ratio(ours.series[name][:, 0], theirs.series[name][:, 0], "paired trial by trial", block=BLOCK)
        cost, _, unit = name.partition("_per_")
        if "joules" in cost and (ours.modelled or theirs.modelled):
            parts = ("cpu_seconds",) if cost == "net_joules" else ("cpu_seconds", "seconds")
            ratio = _spanning(ratio, [found[f"{part}_per_{unit}"] for part in parts])
        found[name] = ratio
    return found


def saved(before: Costs, after: Costs, name: str) -> Figure:
    """Before - after of the cost `name`, trial by trial; without a value where either was not measured."""
    unit = "J" if "joules" in name else "s"
    if name not in before.series or name not in after.series:
        return Figure(value=None, unit=unit, source="derived", method="it was not measured")
    old, new = (costs.series[name][:, 0].tolist() for costs in (before, after))
    return paired_difference(old, new, unit, block=BLOCK)


def per_right_answer(cost: Figure, right: Figure) -> Figure:
    """What one right answer costs. Its interval divides end by end.

    Args:
        cost: per answer
        right: the share of answers that are right

    Returns:
        Without a value where the cost or the share has none, or where nothing was right.
    """
    method = f"{cost.method}; / share of answers that are right"
    missing = cost if cost.value is None else right
    if missing.value is None or cost.value is None or not right.value:
        why = missing.method if missing.value is None else "nothing was right"
        return Figure(value=None, unit=cost.unit, source="derived", method=why)
    least, most = bounds(cost) or (cost.value, cost.value)
    low, high = bounds(right) or (right.value, right.value)
    return Figure(
        value=cost.value / right.value,
        low=least / high,
        high=most / low if low > 0 else math.inf,
        unit=cost.unit,
        source="estimated" if cost.source == "estimated" else "derived",
        scope=cost.scope,
        method=method,
    )


def _spanning(ratio: Figure, parts: Sequence[Figure]) -> Figure:
    lows, highs = [f.low for f in (ratio, *parts)], [f.high for f in (ratio, *parts)]
    if None in lows or None in highs:
        return Figure(value=None, unit="ratio", method=ratio.method)
    how = f"{ratio.method}; an estimate whose watts cancel: spans the ratios of what it is made of"
    ends = {"low": min(x for x in lows if x is not None), "high": max(x for x in highs if x is not None)}
    return ratio.model_copy(update={**ends, "source": "estimated", "method": how})

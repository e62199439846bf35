"""What an interval adds to the coefficients' spread: how far off rows were that a calibration had not seen, by kind.

Kinds differ, and most have few rows of few sources, so what is known of one is pooled with the others (a hierarchical
model, its width flat before: Gelman 2006, doi:10.1214/06-BA117A):

    error ~ Normal(0, explained^2 + scatter^2)     log scatter of a kind ~ Normal(m, tau^2)     m, tau flat on a grid

A kind's scatter is the root of the posterior mean of its square; a kind without rows gets that of the prior, which is
the wider the more kinds differ. This says which kinds are surer than others. How wide they are is counted: the least
factor with which nine tenths of the left-out errors lie inside, the row to come counted as one outside (split conformal
prediction with errors scaled: Lei et al. 2018, arXiv:1604.04173). Kinds that there are take it from rows that were left
out with their source, any other kind from rows left out with their kind, each row with the scatter that the others
tell. Rows of one source err together: all of them count as SAME_SOURCE at most.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lightbulb.predicting.devices import CARD_KINDS, Device, DeviceScope
from lightbulb.predicting.setting import Setting

CONFIDENCE = 0.9
Z = 1.645  # of that confidence, two-sided
LEAST_SCATTER = 0.1  # of a logarithm: nobody measures joules of the same thing closer than this twice
SAME_SOURCE = 3.0  # rows of one source say about as much as this many
SCATTERS = np.geomspace(LEAST_SCATTER, 2.0, 48)
MEANS, TAUS = np.log(np.geomspace(LEAST_SCATTER, 1.0, 24)), np.linspace(0.05, 1.0, 20)
CPUS = ("server-cpu", "desktop-cpu", "laptop-cpu")
KINDS = {"apple": "Apple machines", "board": "boards"} | dict.fromkeys(CPUS, "CPUs")


def kind_of(device: Device, setting: Setting, scope: DeviceScope) -> str:
    """What sort of measurement it is or would be: rows of a sort are off for like reasons."""
    if device.kind in CARD_KINDS:
        if setting.devices > 1:
            return "several devices"
        if setting.batch > 1:
            return "batches"
        return "eager, one at a time" if setting.runtime == "eager" else "desktops"
    if scope == "chip" != device.scope:
        return "chips"  # of which only what is around them is known
    return KINDS.get(device.kind, device.kind)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An error in the logarithm of a row that the calibration had not seen.

    Attributes:
        kind: of the row
        source: who published it
        error: predicted over published
        spread: standard deviation that the coefficients explain
        by_kind: whether all rows of its kind were left out, not only those of its source
    """

    kind: str
    source: str
    error: float
    spread: float
    by_kind: bool = False


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of the logarithm that errors have beyond what the coefficients explain.

    Attributes:
        kinds: of kinds of which there are rows
        other: of any other kind
    """

    kinds: Mapping[str, float] = field(default_factory=dict)
    other: float = 0.0

    def of(self, kind: str) -> float:
        """Of a kind."""
        return self.kinds.get(kind, self.other)


def scatter_of(errors: Sequence[LeftOut]) -> Scatter:
    """The scatter of every kind with which nine tenths of rows to come are expected inside their intervals.

    Args:
        errors: of rows, each left out with its source, and once more with its kind
    """
    found = pooled(errors)
    known = _factor(errors, by_kind=False)
    other = max(known, _factor(errors, by_kind=True))  # a kind that nobody measured is no surer than the others
    kinds = {kind: max(LEAST_SCATTER, known * s) for kind, s in found.kinds.items()}
    return Scatter(kinds, max(LEAST_SCATTER, other * found.other))


def _factor(errors: Sequence[LeftOut], by_kind: bool) -> float:
    """The least factor on scatters with which enough errors of rows that were left out in one way lie inside, each with
    the scatter that rows of other sources, or of other kinds, tell; 1 where there are none."""
    apart: dict[str, Scatter] = {}
    needed = []
    judged = [e for e in errors if e.by_kind == by_kind]
    for e, weight in zip(judged, _weights(judged), strict=True):
        group = e.kind if by_kind else e.source
        if group not in apart:
            apart[group] = pooled([o for o in errors if (o.kind if by_kind else o.source) != group])
        beyond = math.sqrt(max(0.0, (e.error / Z) ** 2 - e.spread**2))
        needed.append((beyond / apart[group].of(e.kind), weight))
    enough, below = CONFIDENCE * (sum(weight for _, weight in needed) + 1), 0.0  # the row to come is one outside
    for factor, weight in sorted(needed):
        below += weight
        if below >= enough:
            return factor
    return max((factor for factor, _ in needed), default=1.0)


def _weights(errors: Sequence[LeftOut]) -> list[float]:
    """All rows of a source count as SAME_SOURCE at most."""
    counts = Counter(e.source for e in errors)
    return [min(1.0, SAME_SOURCE / counts[e.source]) for e in errors]


def pooled(errors: Sequence[LeftOut]) -> Scatter:
    """The scatter of each kind by the errors of rows that were left out with their source, as far as they tell, and by
    those of the other kinds."""
    told = [e for e in errors if not e.by_kind]
    kinds = sorted({e.kind for e in told})
    by_kind = [[e for e in told if e.kind == kind] for kind in ("", *kinds)]
    likelihood_KS = np.stack([_log_likelihood(group) for group in by_kind])
    prior_MTS = np.exp(-0.5 * ((np.log(SCATTERS) - MEANS[:, None, None]) / TAUS[:, None]) ** 2)
    prior_MTS /= prior_MTS.sum(-1, keepdims=True)
    joint_KMTS = prior_MTS * np.exp(likelihood_KS - likelihood_KS.max(1, keepdims=True))[:, None, None]
    evidence_KMT = joint_KMTS.sum(-1)
    hyper_MT = evidence_KMT.prod(0)
    squares_KMT = (joint_KMTS * SCATTERS**2).sum(-1) / evidence_KMT
    found = np.sqrt((squares_KMT * hyper_MT).sum((1, 2)) / hyper_MT.sum())
    return Scatter(dict(zip(kinds, map(float, found[1:]), strict=True)), float(found[0]))


def _log_likelihood(errors: Sequence[LeftOut]) -> np.ndarray:
    """Of errors of one kind at each of SCATTERS. [scatters]"""
    weight_N, error_N = np.array(_weights(errors)), np.array([e.error for e in errors])
    variance_NS = np.array([e.spread for e in errors])[:, None] ** 2 + SCATTERS**2
    return -0.5 * (weight_N[:, None] * (error_N[:, None] ** 2 / variance_NS + np.log(variance_NS))).sum(0)

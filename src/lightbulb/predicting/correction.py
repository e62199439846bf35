"""A device's coefficients after readings of the user's own: one step of Bayes, in logarithms.

Before: the coefficients as published rows have shown them, and the device's own two (its watts and seconds over those
of its data sheet), whose spread is what devices are known to differ by. Readings, each as sure as two rows of one
machine agree, move all of them (Gauss and Newton), and what they leave of the covariance is the interval that remains.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lightbulb.predicting.coefficients import Calibrated, by_name
from lightbulb.predicting.devices import Device, Reading
from lightbulb.predicting.point import GUESSED_SHAPE, STEP, point

ROUNDS = 4  # of linearizing anew


def corrected(found: Calibrated, device: Device) -> Calibrated:
    """The coefficients for a device of which there may be readings."""
    readings = device.readings
    if not readings:
        return found
    covariance = found.covariance
    measured = np.array([x for r in readings for x in _measured(r)])
    noise = np.diag([s**2 for r in readings for s in _noise(r, found)])
    prior, at = found.log_mean, found.log_mean
    gain, slopes = np.zeros((len(at), len(measured))), np.zeros((len(measured), len(at)))
    for _ in range(ROUNDS):
        slopes = _slopes(device, at)
        gain = covariance @ slopes.T @ np.linalg.inv(slopes @ covariance @ slopes.T + noise)
        at = prior + gain @ (measured - _predicted(device, at) - slopes @ (prior - at))
    left = covariance - gain @ slopes @ covariance
    return replace(found, log_mean=at, covariance=(left + left.T) / 2)


def _measured(reading: Reading) -> list[float]:
    return [math.log(x) for x in (reading.joules_per_output_token, reading.tokens_per_second) if x is not None]


def _noise(reading: Reading, found: Calibrated) -> list[float]:
    """How far another row of the same machine would be off."""
    shape = GUESSED_SHAPE if reading.shape.guessed else 0.0
    both = ((reading.joules_per_output_token, found.joules_scatter), (reading.tokens_per_second, found.seconds_scatter))
    return [math.hypot(scatter, shape) for x, scatter in both if x is not None]


def _predicted(device: Device, at: np.ndarray) -> np.ndarray:
    """Logarithms of what the readings should be at coefficients `at`."""
    found: list[float] = []
    for r in device.readings:
        p = point(r.shape, device, r.setting, by_name(at), r.scope)
        if r.joules_per_output_token is not None:
            found.append(math.log(p.output_joules))
        if r.tokens_per_second is not None:
            found.append(math.log(r.batch / p.output_seconds))
    return np.array(found)


def _slopes(device: Device, at: np.ndarray) -> np.ndarray:
    """Of `_predicted` in each coefficient. [readings, coefficients]"""
    steps = np.eye(len(at)) * STEP
    return np.array([(_predicted(device, at + s) - _predicted(device, at - s)) / (2 * STEP) for s in steps]).T

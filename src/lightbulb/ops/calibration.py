"""Temperature scaling (Guo et al. 2017): one number that makes a classifier's probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

LEAST, MOST = 1e-3, 1e3


def nats(scores_NC: np.ndarray, labels_N: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of the labels under softmax(scores / temperature)."""
    scaled_NC = scores_NC.astype(np.float64) / temperature
    return float(np.mean(logsumexp(scaled_NC, axis=1) - scaled_NC[np.arange(len(labels_N)), labels_N]))


def temperature_of(scores_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The temperature with the likeliest labels, between LEAST and MOST; 1 where there is no label. Each label is
    believed but for 1 / (N + 2), shared out over all answers, as by Platt (1999): N items without an error do not show
    that there are none."""
    if not len(labels_N):
        return 1.0
    doubt = 1 / (len(labels_N) + 2)
    believed_N = (1 - doubt) * scores_NC[np.arange(len(labels_N)), labels_N] + doubt * scores_NC.mean(axis=1)

    def loss(log: float) -> float:
        inverse = np.exp(-log)
        return float(np.mean(logsumexp(scores_NC * inverse, axis=1) - believed_N * inverse))

    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-4})
    return float(np.float32(np.exp(found.x)))


def calibration_error(scores_NC: np.ndarray, labels_N: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015): how far the probability of the likeliest answer is from the
    share of right ones, over bins of equal width of that probability."""
    log_probs_NC = scores_NC - logsumexp(scores_NC, axis=1, keepdims=True)
    sure_N, right_N = np.exp(log_probs_NC.max(axis=1)), log_probs_NC.argmax(axis=1) == labels_N
    bin_N = np.minimum((sure_N * bins).astype(int), bins - 1)
    off = np.bincount(bin_N, weights=sure_N - right_N, minlength=bins)
    return float(np.abs(off).sum() / len(labels_N))

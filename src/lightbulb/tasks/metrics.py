"""Scores of answers, each with a 95% interval, and retention: what the student kept of the teacher.

All scores are 0..1 and higher is better, except bits-per-byte, whose "predictions" are the runtime's TextScore
(nats, bytes) of each document and which needs no references.
"""

from __future__ import annotations

import difflib
import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from lightbulb.core import plugins
from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure, bootstrap

BITS_PER_BYTE = "bits-per-byte"
MACRO_F1 = "macro-f1"
PROPORTIONS = ("accuracy", "exact-match", "json-match")
METRICS = (*PROPORTIONS, MACRO_F1, "chrf", "rouge-l", BITS_PER_BYTE)
ItemScore = Callable[[str, str], float]


class ScoredText(Protocol):
    """Negative log-likelihood of a document in nats, and its length in UTF-8 bytes (runtimes.base.TextScore)."""

    @property
    def nats(self) -> float: ...
    @property
    def bytes(self) -> int: ...


def check_metric(name: str) -> None:
    """Refuses now, rather than after the training, what is no metric. The metrics of plugins come after lightbulb's
    own.

    Args:
        name: of a metric, or module:function

    Raises:
        UserError: there is none of that name, or it cannot be imported
    """
    if ":" in name:
        _own(name)
    elif plugins.load(plugins.METRICS, name, METRICS) is None and name not in METRICS:
        known = [*METRICS, *plugins.names(plugins.METRICS)]
        near = difflib.get_close_matches(name.casefold().replace("_", "-"), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}, or your own module:function"
        raise UserError(f"unknown metric {name!r}", where="`metric`", hint=hint)


def higher_is_better(metric: str) -> bool:
    """False for bits-per-byte."""
    return metric != BITS_PER_BYTE


def item_scores(metric: str, predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """Score of each item, 0..1, for metrics whose score is the mean of these (all but macro-f1 and bits-per-byte).

    chrf is sentence chrF2 (Popović 2015) / 100 and rouge-l the F-measure of ROUGE-L (Lin 2004), both averaged over
    items.

    Args:
        metric: its name
        predictions: texts, in order
        references: likewise

    Raises:
        ValueError: a metric that is no mean of items, or lists of different or no length
    """
    _check_lengths(predictions, references)
    score_item = _item_score(metric)
    return [score_item(p, r) for p, r in zip(predictions, references, strict=True)]


def score(metric: str, predictions: Sequence[Any], references: Sequence[str], seed: int = 0) -> Figure:
    """Score over all items: Wilson interval (Wilson 1927) for proportions, percentile bootstrap over items otherwise.

    Args:
        metric: its name
        predictions: texts, in order; for bits-per-byte ScoredText
        references: texts, in order; not read for bits-per-byte
        seed: of the bootstrap

    Raises:
        ValueError: lists of different or no length
        UserError: the metric of a user or a plugin gives no scores
    """
    if metric == BITS_PER_BYTE:
        return bits_per_byte(predictions, seed)
    if metric == MACRO_F1:
        return _macro_f1(predictions, references, seed)
    scores = item_scores(metric, predictions, references)
    n, value = len(scores), math.fsum(scores) / len(scores)
    if metric in PROPORTIONS:
        low, high = wilson(round(sum(scores)), n)
        return _figure(value, low, high, "share", f"{metric} of {n:,} items, Wilson interval")
    low, high = bootstrap([scores], lambda s: s.mean(axis=1), seed=seed)
    return _figure(value, low, high, "score", f"mean {metric} of {n:,} items, bootstrap over items")


def bits_per_byte(scores: Sequence[ScoredText], seed: int = 0) -> Figure:
    """Total nats / (ln 2 x total bytes), bootstrap over documents."""
    nats, size = _text_columns(scores)
    low, high = bootstrap([nats, size], _bits, seed=seed)
    return _figure(
        float(_bits(nats, size)),
        low,
        high,
        "bits/byte",
        f"{len(nats):,} documents, {int(size.sum()):,} bytes, bootstrap over documents",
    )


def retention(
    metric: str,
    student_predictions: Sequence[Any],
    teacher_predictions: Sequence[Any],
    references: Sequence[str],
    seed: int = 0,
) -> Figure:
    """Student's score / teacher's score on the same items (for bits-per-byte teacher's / student's, so that 1 is
    "nothing lost" in every metric), with a paired bootstrap interval, at least as wide as Wilson's of as many items
    that all agree.

    Args:
        metric: its name
        student_predictions: as `score` takes them
        teacher_predictions: likewise, of the same items
        references: likewise
        seed: of the bootstrap

    Returns:
        Without a value where the teacher's score is 0.

    Raises:
        ValueError: lists of different or no length
    """
    student, teacher, statistic = _paired(metric, student_predictions, teacher_predictions, references)
    columns = [*student, *teacher]
    if len({len(c) for c in columns}) != 1:
        raise ValueError("student and teacher were not scored on the same items")
    value = float(statistic(*[c[None, :] for c in columns])[0])
    method = f"{metric} of student / teacher, paired bootstrap over {len(columns[0]):,} items"
    if not math.isfinite(value):
        return Figure(value=None, unit="ratio", source="derived", method=f"{method}; the teacher's score is 0")
    low, high = bootstrap(columns, _defined(statistic, value), seed=seed)
    if metric != BITS_PER_BYTE:  # resamples of items that all agree cannot show the one that would not
        agreeing, _ = wilson(len(columns[0]), len(columns[0]))
        low, high = min(low, value * agreeing), max(high, value / agreeing)
    return _figure(value, low, high, "ratio", method, derived=True)


def wilson(right: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion `right` / `n` (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def parses_as_json(text: str) -> bool:
    """Whether `text` is a whole JSON object or array."""
    return isinstance(_parsed(text), dict | list)


def _paired(
    metric: str, student: Sequence[Any], teacher: Sequence[Any], references: Sequence[str]
) -> tuple[list[np.ndarray], list[np.ndarray], Callable[..., np.ndarray]]:
    """Columns of the student, columns of the teacher, and the ratio over all: [resamples, n] each -> [resamples]."""
    if metric == BITS_PER_BYTE:
        return (
            _text_columns(student),
            _text_columns(teacher),
            lambda sn, sb, tn, tb: _ratio(_bits(tn, tb), _bits(sn, sb)),
        )
    if metric == MACRO_F1:
        truth, predicted = _codes(student, references)
        _, taught = _codes(teacher, references)
        classes = int(truth.max()) + 1
        return [truth, predicted], [taught], lambda r, s, t: _ratio(_f1(r, s, classes), _f1(r, t, classes))
    ours, theirs = (np.array(item_scores(metric, p, references)) for p in (student, teacher))
    return [ours], [theirs], lambda s, t: _ratio(s.mean(axis=1), t.mean(axis=1))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return a / b


def _defined(statistic: Callable[..., np.ndarray], value: float) -> Callable[..., np.ndarray]:
    """A resample in which the teacher has nothing right says nothing about the ratio: it counts as the ratio itself."""

    def finite(*columns: np.ndarray) -> np.ndarray:
        ratios = statistic(*columns)
        return np.where(np.isfinite(ratios), ratios, value)

    return finite


def _figure(value: float, low: float, high: float, unit: str, method: str, derived: bool = False) -> Figure:
    # a percentile interval of a biased statistic (macro-F1) can miss the value itself: widen it to hold it
    return Figure(
        value=value,
        low=min(low, value),
        high=max(high, value),
        unit=unit,
        source="derived" if derived else "measured",
        method=method,
    )


def _check_lengths(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references) or not references:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")


def _text_columns(scores: Sequence[ScoredText]) -> list[np.ndarray]:
    nats, size = np.array([s.nats for s in scores], dtype=float), np.array([s.bytes for s in scores], dtype=float)
    if not size.sum() > 0:
        raise ValueError("no bytes were scored")
    return [nats, size]


def _bits(nats: np.ndarray, size: np.ndarray) -> np.ndarray:
    """[..., documents] of each -> [...]"""
    return np.asarray(nats.sum(axis=-1) / (math.log(2) * np.maximum(size.sum(axis=-1), 1)))


def _macro_f1(predictions: Sequence[str], references: Sequence[str], seed: int) -> Figure:
    from sklearn.metrics import f1_score

    truth, predicted = _codes(predictions, references)
    classes = int(truth.max()) + 1
    value = float(f1_score(truth, predicted, labels=range(classes), average="macro", zero_division=0))
    low, high = bootstrap([truth, predicted], lambda r, p: _f1(r, p, classes), seed=seed)
    return _figure(value, low, high, "score", f"macro-F1 over {classes} answers, {len(truth):,} items, bootstrap")


def _codes(predictions: Sequence[str], references: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Classes as numbers: those of the references from 0, and one more for every prediction that is none of them."""
    _check_lengths(predictions, references)
    known = {label: i for i, label in enumerate(sorted({r.strip() for r in references}))}
    return (
        np.array([known[r.strip()] for r in references]),
        np.array([known.get(p.strip(), len(known)) for p in predictions]),
    )


def _f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Macro-F1 of each resample, over the classes its references hold: [resamples, n] of codes each -> [resamples]."""
    truth, predicted = truth.astype(np.int64), predicted.astype(np.int64)
    resamples, width = len(truth), classes + 1
    base = np.arange(resamples)[:, None] * width

    def count(codes: np.ndarray) -> np.ndarray:
        return np.bincount(codes.ravel(), minlength=resamples * width).reshape(resamples, width)[:, :classes]

    in_truth, in_predicted = count(base + truth), count(base + predicted)
    hits = count(base + np.where(truth == predicted, truth, classes))
    f1 = 2 * hits / np.maximum(in_truth + in_predicted, 1)
    return np.asarray((f1 * (in_truth > 0)).sum(axis=1) / np.maximum((in_truth > 0).sum(axis=1), 1))


def _item_score(metric: str) -> ItemScore:
    if metric == "accuracy":
        return lambda p, r: float(p.strip() == r.strip())
    if metric == "exact-match":
        return lambda p, r: float(p.split() == r.split())
    if metric == "json-match":
        return _json_match
    if metric == "chrf":
        from sacrebleu.metrics import CHRF

        chrf = CHRF()
        return lambda p, r: float(chrf.sentence_score(p, [r]).score) / 100
    if metric == "rouge-l":
        from rouge_score.rouge_scorer import RougeScorer

        rouge = RougeScorer(["rougeL"])
        return lambda p, r: float(rouge.score(r, p)["rougeL"].fmeasure)
    if ":" in metric:
        return _own(metric)
    if (plugin := plugins.load(plugins.METRICS, metric, METRICS)) is not None:
        return _checked(metric, plugin)
    raise ValueError(f"{metric} is not a mean of item scores")


_NOT_JSON = object()


def _json_match(prediction: str, reference: str) -> float:
    """1 when both parse and are equal: blind to key order, white space and 1 against 1.0, but true is not 1. A
    reference that is no JSON is compared as text."""
    wanted = _parsed(reference)
    if wanted is _NOT_JSON:
        return float(prediction.split() == reference.split())
    given = _parsed(prediction)
    try:
        return float(given is not _NOT_JSON and _canonical(given) == _canonical(wanted))
    except RecursionError:  # a model that opens brackets without end
        return 0.0


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _canonical(value: Any) -> Any:
    if isinstance(value, bool):
        return ("bool", value)  # else Python's True == 1
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    return [_canonical(v) for v in value] if isinstance(value, list) else value


def _own(name: str) -> ItemScore:
    """The user's `module:function`, found from the current folder."""
    module_name, _, function_name = name.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as e:  # user code may fail in any way while it is imported
        raise UserError(
            f"cannot import the metric {name!r}: {type(e).__name__}: {e}",
            where="`metric`",
            hint=f"write def {function_name or 'score'}(prediction: str, reference: str) -> float in"
            f" {module_name or 'module'}.py in this folder",
        ) from e
    finally:
        sys.path.remove(here)
    if not callable(function):
        raise UserError(
            f"{name!r} is not a function",
            where="`metric`",
            hint=f"write def {function_name}(prediction: str, reference: str) -> float",
        )

    return _checked(name, function)


def _checked(name: str, function: Callable[[str, str], float]) -> ItemScore:
    """Other people's function, wrapped so that its faults are named."""

    def checked(prediction: str, reference: str) -> float:
        try:
            value = float(function(prediction, reference))
        except Exception as e:
            raise UserError(
                f"the metric {name!r} failed with {type(e).__name__}: {e}",
                where=f"prediction {prediction[:80]!r}, reference {reference[:80]!r}",
                hint="check the function: it gets two strings and returns a number from 0 to 1",
            ) from e
        if not 0.0 <= value <= 1.0:
            raise UserError(
                f"the metric {name!r} returned {value}",
                where=f"prediction {prediction[:80]!r}",
                hint="return a number from 0 to 1",
            )
        return value

    return checked

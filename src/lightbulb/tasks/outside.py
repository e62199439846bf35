"""Questions that none of the answers fits, by a label of the user's: apart from what is learned, to abstain from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightbulb.core.errors import TaskError
from lightbulb.tasks.columns import Row
from lightbulb.tasks.splits import share
from lightbulb.tasks.task import Outside, SplitName, counted

FOR_TEST = 0.5  # of those that come in no split of their own

Rows = Mapping[SplitName, Sequence[Row]]


def take_apart(rows: Rows, label: str) -> tuple[dict[SplitName, list[Row]], dict[SplitName, list[Row]]]:
    """Rows with answers, and rows with the label, each by split.

    Raises:
        TaskError: there is no row with the label
    """
    inside = {split: [row for row in every if row.example.completion.strip() != label] for split, every in rows.items()}
    outside = {
        split: [row for row in every if row.example.completion.strip() == label] for split, every in rows.items()
    }
    if not any(outside.values()):
        known = ", ".join(map(repr, dict.fromkeys(row.example.completion for row in inside["train"][:1000])))
        raise TaskError(
            f"no example has the completion {label!r}; there are {known[:200]}",
            where="`none_label`",
            hint="name the completion of questions that no answer fits, or leave it out",
        )
    return inside, outside


def outside_of(inside: Rows, outside: Rows, label: str, seed: int, findings: list[str]) -> Outside:
    """Splits the rows with the label: nothing is learned from them, so that those of train are divided between
    validation and test. A split that came with such rows keeps them all, and the share that they have there.

    Args:
        inside: rows with answers, by split as they were given
        outside: those with the label, likewise
        label: of these
        seed: decides who goes where
        findings: gets a sentence about it
    """
    answered = {row.key for rows in inside.values() for row in rows}
    free = _different(outside["train"], answered)
    test, test_share = _own(inside, outside, "test")
    if not test:
        test = [row for row in free if share(row.group, seed) < FOR_TEST]
    taken = answered | {row.key for row in test}
    own, validation_share = _own(inside, outside, "validation")
    validation = _different([*own, *free], taken)
    found = Outside(
        label,
        tuple(row.example for row in validation),
        tuple(row.example for row in test),
        validation_share,
        test_share,
    )
    findings.append(
        f"{counted(sum(map(len, outside.values())), 'question')} labelled {label!r} are no answer to be learned: "
        f"{len(validation):,} help to choose when to abstain, {len(test):,} test it"
    )
    if not validation:
        findings.append(f"none of those labelled {label!r} is left to choose by: give some beside those of test")
    return found


def _own(inside: Rows, outside: Rows, split: SplitName) -> tuple[list[Row], float]:
    """The rows with the label that a split came with, and their share of it; none, and the share of train, where there
    are none."""
    of = split if outside.get(split) else "train"
    own = list(outside.get(split, ()))
    return own, len(outside[of]) / max(1, len(outside[of]) + len(inside[of]))


def _different(rows: Sequence[Row], without: set[str]) -> list[Row]:
    """One row a question, none of those that are known already."""
    return [row for row in {row.key: row for row in reversed(rows)}.values() if row.key not in without][::-1]

"""Train, validation and test: made by hash where absent, without duplicates and without leakage.

An example's split depends on its own key and the seed alone: adding, removing or reordering rows moves no other
(except where a cut would be empty or without an answer of a closed set, or where validation is over its cap).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lightbulb.core.errors import TaskError
from lightbulb.tasks.columns import Row
from lightbulb.tasks.task import SplitName, counted

FEWEST = 8
MOST_VALIDATION = 1000


@dataclass(frozen=True, slots=True)
class Splits:
    """Rows that are clean and apart.

    Attributes:
        train: what is learned from
        validation: what decisions hang on
        test: what the proof is made with
        findings: what was removed or set apart, in sentences
    """

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    findings: list[str]


def share(key: str, seed: int) -> float:
    """Where a key falls in [0, 1): uniform over keys, fixed for a key and a seed."""
    return int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()[:13], 16) / 16**13


def make_splits(
    train: Sequence[Row],
    validation: Sequence[Row] | None,
    test: Sequence[Row] | None,
    seed: int = 0,
    *,
    several_answers: bool = False,
    closed: bool = False,
) -> Splits:
    """Cleans given splits and cuts the missing ones out of train: 1 in 10 for test, 1 in 10 (at most 1,000) for
    validation, and at least one each.

    A given test split is kept whole, duplicates included, so that its figures compare with published ones; questions
    and groups that it shares with validation and train are removed from these.

    Args:
        train: rows
        validation: rows; None: cut out of train
        test: likewise
        seed: decides the cuts
        several_answers: a question may have more than one right answer ("generate"), and all of them stay in train
        closed: the answers are a closed set ("choose"): each cut gets an example of every answer that has enough of
            them

    Raises:
        TaskError: fewer than FEWEST distinct examples are left in train
    """
    findings: list[str] = []
    kept = without_duplicates(train, "train", findings, several_answers)
    check_enough(len(kept), len(train), train)
    _enough_groups(len({row.group for row in kept}), 1 + (test is None) + (validation is None), train)
    if test is None:
        test = cut_split(kept, 0.0, seed, spare=(2 if validation is None else 1) if closed else None)
        findings.append(f"no test split was given: {len(test):,} of {len(kept):,} examples were set apart by hash")
        kept = _apart(kept, test)
    elif repeated := len(test) - len({row.key for row in test}):
        findings.append(f"test: {counted(repeated, 'repeated question')} kept, because a given test set stays whole")
    kept = _unleaked(kept, test, "train", "test", findings)
    _some_left(kept, "train", train)
    if validation is None:
        validation = cut_split(kept, 0.1, seed, most=MOST_VALIDATION, spare=1 if closed else None)
        findings.append(
            f"no validation split was given: {len(validation):,} of {len(kept):,} training examples were"
            " set apart by hash"
        )
        kept = _apart(kept, validation)
    else:
        unique = without_duplicates(validation, "validation", findings)
        validation = _unleaked(unique, test, "validation", "test", findings)
        kept = _unleaked(kept, validation, "train", "validation", findings)
        _some_left(validation, "validation", unique)
    _some_left(kept, "train", train)
    return Splits(kept, list(validation), list(test), findings)


def without_duplicates(
    rows: Sequence[Row], split: SplitName, findings: list[str], several_answers: bool = False
) -> list[Row]:
    """One row a key, in order of first sight. Of conflicting answers the most frequent stays, ties by first sight.

    Args:
        rows: of the split
        split: its name
        findings: gets a sentence for what was removed
        several_answers: each different answer stays
    """
    if several_answers:
        different = list({(row.key, row.example.completion): row for row in reversed(rows)}.values())[::-1]
        if len(different) < len(rows):
            findings.append(f"{split}: {counted(len(rows) - len(different), 'duplicate')} removed")
        return different
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    kept, same, conflicts = list[Row](), 0, list[Row]()
    for group in groups.values():
        tally = Counter(row.example.completion for row in group)
        if len(tally) > 1 and group[0].example.prompt:
            conflicts.append(group[0])
        else:
            same += len(group) - 1
        best = tally.most_common(1)[0][0]
        kept.append(next(row for row in group if row.example.completion == best))
    if same:
        findings.append(f"{split}: {counted(same, 'duplicate')} removed")
    if conflicts:
        questions = "1 question has" if len(conflicts) == 1 else f"{len(conflicts):,} questions have"
        findings.append(
            f"{split}: {questions} conflicting answers; the most frequent answer was kept"
            f" (the first is at {conflicts[0].place})"
        )
    return kept


def cut_split(
    rows: Sequence[Row], start: float, seed: int, most: int | None = None, spare: int | None = None
) -> list[Row]:
    """The rows whose groups fall in [start, start + 0.1), or the group nearest after `start` where none does. One row a
    question, the first; groups stay whole.

    Args:
        rows: to cut from
        start: 0 to 1
        seed: decides where a group falls
        most: of more rows than these, those nearest to `start`
        spare: every answer of more than so many groups gets one or more in the cut, and keeps `spare` of them outside
    """
    offsets = {row.group: (share(row.group, seed) - start) % 1.0 for row in rows}
    first = list({row.key: row for row in reversed(rows)}.values())[::-1]
    sizes = Counter(row.group for row in first)
    near = sorted((group for group in sizes if offsets[group] < 0.1), key=offsets.__getitem__)
    inside, held = set[str](), 0
    for group in near or [min(sizes, key=offsets.__getitem__)]:
        if most is None or not inside or held + sizes[group] <= most:
            inside.add(group)
            held += sizes[group]
    if spare is not None:
        inside = _with_every_answer(first, inside, offsets, spare)
    return [row for row in first if row.group in inside]


def _with_every_answer(rows: Sequence[Row], inside: set[str], offsets: dict[str, float], spare: int) -> set[str]:
    """`inside` with the nearest group of each answer that it has none of, and without the farthest ones of an answer
    that would have too few left; rarest answers first. A group that holds a fifth of all rows is not moved; the only
    one of an answer stays outside, where it is learned."""
    of_answer: dict[str, set[str]] = {}
    for row in rows:
        of_answer.setdefault(row.example.completion, set()).add(row.group)
    sizes = Counter(row.group for row in rows)
    inside = set(inside)

    def spared(group: str) -> bool:
        """Whether every answer of a group keeps enough groups outside when this one goes in."""
        return all(
            len(groups - inside) > spare for groups in of_answer.values() if group in groups and len(groups) > spare
        )

    for groups in (of_answer[answer] for answer in sorted(of_answer, key=lambda a: (len(of_answer[a]), a))):
        near = sorted(groups, key=offsets.__getitem__)
        while len(groups - inside) < max(1, min(spare, len(groups) - 1)) and len(inside) > 1:
            inside.remove(next(group for group in reversed(near) if group in inside))
        if len(groups) > spare and not groups & inside:
            free = (group for group in near if 5 * sizes[group] < len(rows) and spared(group))
            inside.update(next(([group] for group in free), []))
    return inside


def check_enough(distinct: int, given: int, rows: Sequence[Row]) -> None:
    """Refuses too few examples.

    Args:
        distinct: how many different ones there are
        given: how many there are
        rows: where they came from

    Raises:
        TaskError: fewer than FEWEST are distinct
    """
    if distinct >= FEWEST:
        return
    what = (
        f"only {counted(distinct, 'distinct example')} among {given:,}"
        if distinct < given
        else f"only {counted(distinct, 'example')}"
    )
    raise TaskError(
        f"{what}; at least {FEWEST} are needed (some hundreds for a good result)",
        where=rows[0].place.rpartition(":")[0] if rows else None,
        hint="add examples",
    )


def _enough_groups(groups: int, splits: int, rows: Sequence[Row]) -> None:
    if groups < splits:
        raise TaskError(
            f"the examples belong to {counted(groups, 'group')}, which cannot be cut into {splits} splits",
            where=rows[0].place.rpartition(":")[0],
            hint="give more documents, or `group` with a column of more values",
        )


def _apart(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    keys, groups = {row.key for row in others}, {row.group for row in others}
    return [row for row in rows if row.key not in keys and row.group not in groups]


def _some_left(rows: Sequence[Row], split: SplitName, given: Sequence[Row]) -> None:
    if not rows:
        raise TaskError(
            f"the splits hold the same examples: nothing is left in {split}",
            where=given[0].place.rpartition(":")[0] if given else None,
            hint="give splits that do not overlap, or one file and let it be split",
        )


def _unleaked(rows: Sequence[Row], others: Sequence[Row], split: str, other: str, findings: list[str]) -> list[Row]:
    kept, questions = _apart(rows, others), {row.key for row in others}
    same = sum(row.key in questions for row in rows)
    if same:
        findings.append(f"{counted(same, f'{split} example')} also in {other}: removed from {split}")
    if grouped := len(rows) - len(kept) - same:
        findings.append(f"{counted(grouped, f'{split} example')} of a group that is in {other}: removed from {split}")
    return kept

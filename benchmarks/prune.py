"""Cuts of every kind on one language model: perplexity at once, and after a short training.

    python benchmarks/prune.py --text ../shared/data/wikitext2/wiki.test.raw [--only 'depth|wanda'] [--write]

The first documents of the text calibrate and train, the last are scored. A row that was scored is kept in rows.json and
not made again. Rows of a peer, with its own solver on the same weights and inputs, need

    pip install --no-deps llmcompressor compressed-tensors loguru
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sections import commit, put

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Silent
from lightbulb.models.form import Encoded
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.models.resolve import resolve
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.prune_weights import PruneWeights
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.tasks.task import Example, Task
from lightbulb.train.data import encode_split
from lightbulb.train.forward import deterministic
from lightbulb.train.importance import task_loss
from lightbulb.train.loop import Schedule

CHARACTERS = 2000  # of a document, about: some 450 tokens
SHARES = (0.2, 0.4, 0.6)
RECOVERED = 0.4  # rows that lost this share are trained, too
HEADING = "## Cuts"


@dataclass(frozen=True)
class Row:
    """A cut. share: that it takes away; trained: whether it is trained afterwards, too."""

    name: str
    share: float
    pass_: Pass | None
    trained: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}, {self.share:.0%}" + (", trained" if self.trained else "")


class Peer(PruneWeights):
    """The same with the solver of llm-compressor."""

    def _prune(self, weight: torch.Tensor, gram_CC: torch.Tensor) -> None:
        from llmcompressor.modifiers.pruning.sparsegpt.sgpt_sparsify import sparsify_weight as by_sparsegpt
        from llmcompressor.modifiers.pruning.wanda.wanda_sparsify import sparsify_weight as by_wanda

        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight.detach().clone()
        zeros, of = (2, 4) if self.pattern == "2:4" else (0, 0)
        if self.method == "wanda":
            found: Any = by_wanda(linear, {linear: gram_CC.diagonal().clone()}, self.share, zeros, of)
        else:
            found = by_sparsegpt(linear, {linear: gram_CC.clone()}, self.share, zeros, of, 128, 0.01, False)
        weight.copy_(found[-1] if isinstance(found, tuple) else found)


def rows(schedule: Schedule, layers: int, peer: bool) -> Iterator[Row]:
    """All of the table, the whole model first."""
    yield Row("whole model", 0.0, None)
    yield Row("whole model", 0.0, None, trained=True)
    for share in SHARES:
        left, trained = 1 - share, share == RECOVERED
        cuts: dict[str, Pass] = {
            "depth, block influence": PruneDepth(layers=round(left * layers)),
            "feed-forward, Taylor": PruneWidth(feed_forward=left),
            "feed-forward, Taylor, across layers": PruneWidth(feed_forward=left, ranking="global"),
            "heads, Taylor, across layers": PruneWidth(groups=left, ranking="global"),
        }
        if share == SHARES[0]:  # it takes a reading for each layer and each removal
            cuts["depth, by loss"] = PruneDepth(layers=round(left * layers), by="loss")
        if share == RECOVERED:
            cuts["feed-forward, activations"] = PruneWidth(feed_forward=left, importance="activation")
        for name, cut in cuts.items():
            yield Row(name, share, cut)
            if trained:
                yield Row(name, share, cut, trained=True)
    for method in ("magnitude", "wanda", "sparsegpt"):
        for share in SHARES:
            yield Row(method, share, PruneWeights(method=method, share=share))
        yield Row(f"{method}, 2:4", 0.5, PruneWeights(method=method, pattern="2:4"))
        recovered = PruneWeights(method=method, share=RECOVERED, recover=schedule)
        yield Row(method, RECOVERED, recovered, trained=True)
        if peer and method != "magnitude":
            yield Row(f"{method}, llm-compressor", RECOVERED, Peer(method=method, share=RECOVERED))
            yield Row(f"{method}, 2:4, llm-compressor", 0.5, Peer(method=method, pattern="2:4"))


def documents(text: str, size: int = CHARACTERS) -> list[str]:
    """Paragraphs side by side, until they have `size` characters."""
    found = [""]
    for paragraph in text.splitlines(keepends=True):
        if len(found[-1]) >= size:
            found.append("")
        found[-1] += paragraph
    return found


def task_of(text: Path, train: int, test: int) -> Task:
    """The first documents to learn from, the last to be scored."""
    whole = [Example("", document) for document in documents(text.read_text(encoding="utf-8"))]
    assert train + test <= len(whole)
    return Task(text.stem, "text", "bits-per-byte", tuple(whole[:train]), (), tuple(whole[-test:]))


def score(row: Row, model: Artifact, task: Task, schedule: Schedule, folder: Path, threads: int) -> dict[str, Any]:
    """Makes a row and scores it: nats of each test document, its tokens, weights, zeros among them, seconds."""
    began, source, facts = time.monotonic(), model, {}
    adapt = [Adapt(schedule=schedule)] if row.trained and not isinstance(row.pass_, PruneWeights) else []
    for number, pass_ in enumerate([*([row.pass_] if row.pass_ else []), *adapt]):
        out = folder / str(number)
        out.mkdir(parents=True)
        facts |= pass_.apply(source, out, Context(task, 0, Silent(), folder / f"scratch-{number}", threads=threads))
        source = Artifact(path=out, kind="model", key=str(number), made_by=pass_.name, facts={})
    made, seconds = load_model(source.path), time.monotonic() - began
    tokenizer = load_tokenizer(source.path)
    data = encode_split(task, "test", tokenizer, None, made.config.max_position_embeddings)
    data = [Encoded(item.ids[:-1], item.first_target) for item in data]  # a document is cut where no text ends
    with deterministic(0, threads):
        nats = [task_loss(made, [item]) for item in data]
    return {
        "nats": nats,
        "tokens": [len(item.targets) for item in data],
        "parameters": sum(p.numel() for p in made.parameters()),
        "zeros": facts.get("zeros", 0),
        "seconds": seconds,
    }


def perplexity(found: dict[str, Any]) -> float:
    return math.exp(float(np.average(found["nats"], weights=found["tokens"])))


def times_dense(found: dict[str, Any], dense: dict[str, Any]) -> str:
    """Perplexity over that of the whole model, paired by document, with the interval of 95%."""
    log = np.array(found["nats"]) - np.array(dense["nats"])
    weights = np.array(found["tokens"]) / np.mean(found["tokens"])
    mean = float(np.average(log, weights=weights))
    error = 1.96 * float(np.std(weights * (log - mean), ddof=1)) / math.sqrt(len(log))
    return f"{math.exp(mean):.3g} [{math.exp(mean - error):.3g}, {math.exp(mean + error):.3g}]"


def table(scored: dict[str, dict[str, Any]], every: list[Row]) -> str:
    """One line for each cut that was scored; training stands beside it."""
    dense = scored["whole model, 0%"]
    lines = [
        "| cut | taken away | weights left to read | perplexity | / the whole model's | after training |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in every:
        found = scored.get(row.label)
        if row.trained or found is None:
            continue
        trained = scored.get(f"{row.label}, trained")
        left = found["parameters"] / dense["parameters"]
        read = "100% (zeros are read)" if found["zeros"] else f"{left:.0%}"
        cells = [row.name, f"{row.share:.0%}", read, f"{perplexity(found):.2f}", times_dense(found, dense)]
        lines.append("| " + " | ".join([*cells, f"{perplexity(trained):.2f}" if trained else ""]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--train", type=int, default=40, help="documents")
    parser.add_argument("--test", type=int, default=8, help="documents")
    parser.add_argument("--only", default="", help="a pattern that names of rows match")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/prune"))
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    task = task_of(given.text, given.train, given.test)
    folder, account = given.out / "model", given.out / "rows.json"
    if not folder.is_dir():
        import_model(resolve(given.model), folder)
    model = Artifact(path=folder, kind="model", key="model", made_by="import", facts={})
    layers = read_json(folder / "config.json")["num_hidden_layers"]
    schedule = Schedule(epochs=1, learning_rate=2e-4, batch_size=2)
    every = list(rows(schedule, layers, peer=find_spec("llmcompressor") is not None))
    scored = read_json(account) if account.is_file() else {}
    for row in every:
        if row.label not in scored and (row is every[0] or re.search(given.only, row.label)):
            shutil.rmtree(given.out / "row", ignore_errors=True)
            scored[row.label] = score(row, model, task, schedule, given.out / "row", given.threads)
            write_json(account, scored)
            print(f"{row.label}: {perplexity(scored[row.label]):.2f}", flush=True)
    shutil.rmtree(given.out / "row", ignore_errors=True)
    tokens = sum(scored["whole model, 0%"]["tokens"])
    text = (
        f"`python benchmarks/prune.py --text {given.text} --train {given.train} --test {given.test}`, "
        f"{time.strftime('%Y-%m-%d')}, {commit()}: {given.model}, {tokens:,} tokens of {given.text.name} scored in "
        f"documents of about {CHARACTERS} characters, {given.train} others calibrate, and train for one epoch.\n\n"
        + table(scored, every)
    )
    print(f"\n{text}")
    if given.write:
        put("prune", text, HEADING)


if __name__ == "__main__":
    main()

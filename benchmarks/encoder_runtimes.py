"""CPU milliseconds an answer of encoders: filament beside llama.cpp and transformers, in turns within one run.

    python benchmarks/encoder_runtimes.py ../shared/data/banking77/test.jsonl FILE.gguf [FILE.gguf ...] [--torch FOLDER]

Each works through the texts in bulk with one thread: filament and llama.cpp (its server in this process, embeddings
only, without the head) with the files, transformers in float32 with the checkpoint in FOLDER, texts of about one length
together, as a careful user would. CPU time is that of the whole process: the median of the rounds, and the least.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 64
Work = Callable[[Sequence[str]], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--torch", type=Path)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with given.texts.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["prompt"] for line in lines][: given.count]
    works: dict[str, Work] = {}
    for file in given.files:
        works[f"filament, {file.name}"] = filament(file)
        works[f"llama.cpp, {file.name}"] = llama_cpp(file)
    if given.torch:
        works["transformers, float32"] = transformers(given.torch)
    print(f"{len(texts)} texts, {given.rounds} rounds in turns\n\n| | median ms | least ms |\n|---|---|---|")
    for name, took in measured(works, texts, given.rounds).items():
        print(f"| {name} | {median(took):.2f} | {min(took):.2f} |")


def measured(works: dict[str, Work], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds an answer of each round; the first, which is not counted, warms up."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time()
            work(texts)
            if turn:
                took[name].append(1e3 * (time.process_time() - start) / len(texts))
    return took


def filament(file: Path) -> Work:
    import lightbulb_filament

    return lightbulb_filament.Classifier(file, threads=1).classify


def llama_cpp(file: Path) -> Work:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.embedding, params.warmup, params.verbosity = str(file), True, False, -1
    params.n_parallel, params.n_ctx, params.n_gpu_layers = BATCH, BATCH * 512, 0
    params.n_batch = params.n_ubatch = 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def work(texts: Sequence[str]) -> None:
        for i in range(0, len(texts), BATCH):
            reply = server.handle_embeddings({"input": list(texts[i : i + BATCH])})
            assert len(reply["data"]) == len(texts[i : i + BATCH])

    return work


def transformers(folder: Path) -> Work:
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def work(texts: Sequence[str]) -> None:
        alike = sorted(texts, key=len)
        with torch.inference_mode():
            for i in range(0, len(texts), BATCH):
                batch = tokenizer(alike[i : i + BATCH], padding=True, truncation=True, return_tensors="pt")
                mask = batch["attention_mask"][..., None]
                _ = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)

    return work


if __name__ == "__main__":
    main()

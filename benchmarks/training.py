"""How many tokens a CPU second trains: this loop, the loop as it was, transformers' Trainer and TRL's SFTTrainer.

    python benchmarks/training.py [--lengths 16 64 256] [--cases full frozen student] [--steps 9] [--repeats 3]

SmolLM2-135M on text of the built-in task, in sequences of one length (so that nobody pads), whose last quarter is to be
predicted. Cases: the whole teacher; the teacher with 40% of its layers frozen; a student of 3 layers on the teacher's
logits (Trainer and SFTTrainer, which cannot use these, train it on the text). Three epochs with the same batch size,
AdamW, learning rates and bfloat16. Every training is a process of its own; all rows take turns, in mirrored order.
Counted: CPU seconds of the process over all steps (the first two as the others of the first
epoch). Score: loss on text that none of them saw.

The loop as it was comes out of `git archive 4ccf395`; where this clone does not have that commit, it is left out.
TRL is no dependency: pip install trl, or name a folder that holds it in --trl.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OLD = "4ccf395"
CASES = {"full": "teacher, all layers", "frozen": "teacher, 40% frozen", "student": "student of 3 layers"}
ROWS = {
    "old": f"the loop at {OLD}",
    "new": "this loop",
    "trainer": "transformers Trainer",
    "sft": "TRL SFTTrainer",
    "sft-packed": "TRL SFTTrainer, packed",
}
EPOCHS, WARM, RATE, SEED = 3, 2, 2e-4, 0
VALIDATION = 32


@dataclass(frozen=True)
class Job:
    row: str
    case: str
    length: int
    steps: int
    batch_size: int
    threads: int
    folder: str

    @property
    def examples(self) -> int:
        return self.steps * self.batch_size // EPOCHS


@dataclass(frozen=True)
class Outcome:
    tokens_per_cpu_second: float
    validation_loss: float


def sequences(length: int, count: int, skip: int = 0) -> list[list[int]]:
    """`count` pieces of `length` + 1 tokens out of the built-in task's text, after `skip` others."""
    from lightbulb.models.loading import load_tokenizer
    from lightbulb.tasks.load import load_task

    tokenizer = load_tokenizer(_model_folder())
    task = load_task("home", seed=SEED)
    ids: list[int] = []
    for example in task.train:
        ids += tokenizer(f"{example.prompt}\n{example.completion}\n").input_ids
        if len(ids) >= (skip + count) * (length + 1):
            break
    pieces = [ids[at : at + length + 1] for at in range(0, len(ids) - length, length + 1)]
    return pieces[skip : skip + count]


def _model_folder() -> Path:
    return Path(os.environ["TRAINING_BENCHMARK_MODEL"])


def render(outcomes: dict[tuple[str, int, str], list[Outcome]], notes: Sequence[str]) -> str:
    lines = [
        *notes,
        "",
        "| training | tokens | loop | tokens a CPU second | to the loop as it was | validation loss |",
        "|---|---|---|---|---|---|",
    ]
    for case, length in dict.fromkeys((case, length) for case, length, _ in outcomes):
        old = outcomes.get((case, length, "old"))
        for row, name in ROWS.items():
            found = outcomes.get((case, length, row))
            if not found:
                continue
            rates = [o.tokens_per_cpu_second for o in found]
            lines.append(
                f"| {CASES[case]} | {length} | {name} | {_spread(rates, '.0f')} | {_ratios(found, old)} "
                f"| {found[0].validation_loss:.3f} |"
            )
    return "\n".join(lines)


def _ratios(found: Sequence[Outcome], old: Sequence[Outcome] | None) -> str:
    """Paired, repeat by repeat."""
    if not old:
        return "not measured"
    pairs = zip(found, old, strict=False)
    return _spread([a.tokens_per_cpu_second / b.tokens_per_cpu_second for a, b in pairs], ".2f")


def _spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}}" if len(values) == 1 else f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def rate(marks: Sequence[float], tokens_per_step: int) -> float:
    """Tokens a CPU second of EPOCHS epochs from the process's CPU clock after each step. The first WARM steps count as
    much as the others of the first epoch, in which alone frozen layers are computed."""
    epoch = len(marks) // EPOCHS
    first = (marks[epoch - 1] - marks[WARM - 1]) / (epoch - WARM) * epoch
    return tokens_per_step * len(marks) / (first + marks[-1] - marks[epoch - 1])


def processor() -> str:
    """Name and family: cloud machines hide names."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    field = {k: v.strip() for k, v in reversed(re.findall(r"^([a-z ]+?)\s*:(.*)$", text, re.M))}
    if "model name" not in field:
        return platform.processor() or platform.machine()
    flags = "amx_tile" in text and "AMX" or "avx512_bf16" in text and "AVX-512 BF16" or "no bfloat16"
    return f"{field.get('model name')} (family {field.get('cpu family')}, model {field.get('model')}, {flags})"


# what a worker does


def work(job: Job) -> Outcome:
    import torch

    torch.set_num_threads(job.threads)
    pieces = sequences(job.length, job.examples)
    unseen = sequences(job.length, VALIDATION, skip=job.examples)
    model = prepared(job)
    learned = job.length // 4
    with tempfile.TemporaryDirectory() as scratch:
        train = own_loop if job.row in ("old", "new") else other_trainer
        marks = train(job, model, pieces, learned, Path(scratch))
    return Outcome(rate(marks, job.batch_size * job.length), loss_on(model, unseen, learned))


def prepared(job: Job) -> Any:
    from lightbulb.models.families import keep_layers, layers_of
    from lightbulb.models.loading import load_model
    from lightbulb.passes.adapt import freeze

    model = load_model(_model_folder())
    depth = len(layers_of(model))
    if job.case == "frozen":
        freeze(model, round(0.4 * depth), keep_head=False)
    if job.case == "student":
        keep_layers(model, [0, depth // 2, depth - 1])
    return model


def own_loop(job: Job, model: Any, pieces: list[list[int]], learned: int, scratch: Path) -> list[float]:
    from lightbulb.models.form import Encoded
    from lightbulb.passes.fit import plain_loss, teacher_loss
    from lightbulb.train.forward import deterministic
    from lightbulb.train.loop import Schedule, train

    data = [Encoded(ids, len(ids) - learned) for ids in pieces]
    schedule = Schedule(epochs=EPOCHS, learning_rate=RATE, batch_size=job.batch_size)
    loss = teacher_loss(Path(job.folder) / f"logits-{job.length}", 0.8, 2.0) if job.case == "student" else plain_loss
    with deterministic(SEED, job.threads), _own_memory():
        watch = Marks()
        train(
            model, data, schedule, _own_forward(model, data, job), loss,
            seed=SEED, scratch=scratch, progress=watch, label="benchmark",
        )  # fmt: skip
    return watch.marks


def _own_forward(model: Any, data: Any, job: Job) -> Any:
    try:
        from lightbulb.train.engine import Epochs, forward_of
    except ImportError:  # the loop as it was
        from lightbulb.train.forward import target_logits

        return target_logits
    return forward_of(model, epochs=Epochs(data, job.batch_size, SEED))


@contextmanager
def _own_memory() -> Any:
    try:
        from lightbulb.train.forward import kept_memory
    except ImportError:
        yield
        return
    with kept_memory():
        yield


class Marks:
    """A progress that notes the process's CPU clock after each step."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    @contextmanager
    def bar(self, label: str, total: float) -> Any:
        yield lambda done, note="": self.marks.append(time.process_time())


def other_trainer(job: Job, model: Any, pieces: list[list[int]], learned: int, scratch: Path) -> list[float]:
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            marks.append(time.process_time())

    settings: dict[str, Any] = dict(
        output_dir=str(scratch), num_train_epochs=EPOCHS, per_device_train_batch_size=job.batch_size,
        learning_rate=RATE, weight_decay=0.01, adam_beta2=0.98, max_grad_norm=1.0, lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.05 * job.steps)), optim="adamw_torch_fused", bf16=True, use_cpu=True,
        save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, seed=SEED,
    )  # fmt: skip
    if job.row == "trainer":
        rows = {"input_ids": pieces, "labels": [[-100] * (len(p) - learned) + p[-learned:] for p in pieces]}
        data = Dataset.from_dict(rows)
        arguments = TrainingArguments(**settings)
        Trainer(model, arguments, default_data_collator, train_dataset=data, callbacks=[Clock()]).train()
    else:
        from trl import SFTConfig, SFTTrainer

        from lightbulb.models.loading import load_tokenizer

        masks = [[0] * (len(p) - learned) + [1] * learned for p in pieces]
        data = Dataset.from_dict({"input_ids": pieces, "completion_mask": masks})
        if job.row == "sft-packed":  # the same tokens a step, in one row
            width = job.batch_size * (job.length + 1)
            settings |= dict(packing=True, max_length=width, per_device_train_batch_size=1)
        else:
            settings |= dict(max_length=None)
        settings |= dict(gradient_checkpointing=False, completion_only_loss=True)
        tokenizer = load_tokenizer(_model_folder())
        SFTTrainer(
            model, args=SFTConfig(**settings), train_dataset=data, processing_class=tokenizer, callbacks=[Clock()]
        ).train()
    return marks


def loss_on(model: Any, pieces: list[list[int]], learned: int) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        ids = torch.tensor(pieces)
        h = model.base_model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[:, -learned:]
        logits = model.lm_head(h)
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, -learned:].flatten()))


# what the one in front does


def prepare(folder: Path, lengths: Sequence[int], examples: dict[int, int], with_student: bool) -> None:
    """The model as a folder, and the teacher's logits on each length's text."""
    from lightbulb.core.progress import Silent
    from lightbulb.models.form import Encoded
    from lightbulb.models.importing import import_model
    from lightbulb.models.loading import load_model
    from lightbulb.models.resolve import resolve
    from lightbulb.train.logits import write_logits

    os.environ["TRAINING_BENCHMARK_MODEL"] = str(folder / "model")
    import_model(resolve("smollm2-135m"), folder / "model")
    for length in lengths if with_student else ():
        data = [Encoded(ids, len(ids) - length // 4) for ids in sequences(length, examples[length])]
        (out := folder / f"logits-{length}").mkdir()
        write_logits(load_model(folder / "model"), data, 32, out, 64, Silent(), "logits")


def old_source(folder: Path) -> Path | None:
    """The package at commit OLD."""
    made = subprocess.run(["git", "-C", str(ROOT), "archive", OLD, "src"], capture_output=True)
    if made.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder / "old", filter="data")
    return folder / "old" / "src"


def run(job: Job, source: Path, more: Sequence[str]) -> Outcome | None:
    path = os.pathsep.join([str(source), *more])
    command = [sys.executable, __file__, "--worker", json.dumps(asdict(job))]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        print(f"{job.row} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256], help="tokens of a sequence")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, default=9, help="steps of a training, a multiple of 3")
    parser.add_argument("--batch-tokens", type=int, default=1024, help="tokens of a step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trl", help="a folder that holds trl")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(asdict(work(Job(**json.loads(args.worker))))))
        return
    if args.steps % EPOCHS or args.steps <= WARM * EPOCHS:
        parser.error(f"--steps must be a multiple of {EPOCHS} above {WARM * EPOCHS}")
    with tempfile.TemporaryDirectory() as name:
        compare(args, Path(name))


def compare(args: argparse.Namespace, folder: Path) -> None:
    sys.path.insert(0, str(ROOT / "src"))
    sizes = {length: max(1, args.batch_tokens // length) for length in args.lengths}
    examples = {length: args.steps * size // EPOCHS for length, size in sizes.items()}
    prepare(folder, args.lengths, examples, "student" in args.cases)
    rows, more = list(args.rows), [args.trl] if args.trl else []
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    notes = [
        f"{processor()}, {args.threads} of {os.cpu_count()} cores, commit {commit.stdout.strip()}, {date.today()}; "
        f"{args.steps} steps of {args.batch_tokens} tokens, {args.repeats} repeats: median [range]"
    ]
    old = old_source(folder)
    if old is None:
        rows.remove("old")
        notes.append(f"{ROWS['old']}: not measured, this clone does not have the commit")
    if not args.trl and find_spec("trl") is None:
        rows = [row for row in rows if not row.startswith("sft")]
        notes.append(f"{ROWS['sft']}: not installed: pip install trl")
    outcomes: dict[tuple[str, int, str], list[Outcome]] = {}
    for case in args.cases:
        for length in args.lengths:
            for repeat in range(args.repeats):
                for row in rows if repeat % 2 == 0 else rows[::-1]:
                    job = Job(row, case, length, args.steps, sizes[length], args.threads, str(folder))
                    outcome = run(job, old if row == "old" and old else ROOT / "src", more)
                    if outcome:
                        outcomes.setdefault((case, length, row), []).append(outcome)
                        print(f"{case} {length} {row}: {outcome}", file=sys.stderr, flush=True)
    print(render(outcomes, notes))


if __name__ == "__main__":
    main()

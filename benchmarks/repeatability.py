"""Does a paired ratio come out the same in the next invocation? SmolLM2-135M as q8_0 against q4_0 in llama.cpp.

    python benchmarks/repeatability.py --out runs/repeatability

Makes both files once, then runs `lightbulb measure q8_0.gguf --against q4_0.gguf` in so many processes of their own and
prints the ratio of each with its 95% interval. They agree when every interval holds the mean of all, and when all
intervals share a point. The spread between invocations, less what each one's blocks explain, is what RATIO_FLOOR in
`energy/statistics.py` stands for. A finished record in --out is read, not measured again.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core.figures import Figure, human  # noqa: E402
from lightbulb.core.files import new_file, read_json  # noqa: E402

MODEL = "smollm2-135m"
QUANTITIES = ("cpu_seconds_per_answer", "seconds_per_answer", "joules_per_answer")
QUANTITIES += ("cpu_seconds_per_prompt_token", "cpu_seconds_per_output_token")


def main() -> int:
    asked = arguments()
    ours, theirs = files(asked.model, asked.out)
    records = [invocation(n, ours, theirs, asked) for n in range(asked.invocations)]
    print(render(records, asked))
    return 0 if all(agreement(ratios(records, q)).agree for q in QUANTITIES) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help="a short name, a folder or a .gguf file")
    parser.add_argument("--out", type=Path, default=Path("runs/repeatability"))
    parser.add_argument("--invocations", type=int, default=5)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def files(model: str, out: Path) -> tuple[Path, Path]:
    """The model as q8_0 and as q4_0 (its embedding q8_0, as llama.cpp keeps it wider too)."""
    places = out / f"{Path(model).stem}-q8_0.gguf", out / f"{Path(model).stem}-q4_0.gguf"
    if not all(p.exists() for p in places):
        from lightbulb.formats.gguf.type_map import TypeMap
        from lightbulb.models.gguf import write_gguf
        from lightbulb.models.importing import import_model
        from lightbulb.models.resolve import resolve

        with tempfile.TemporaryDirectory() as folder:
            import_model(resolve(model), Path(folder))
            for place, quant_type in zip(places, ("q8_0", "q4_0"), strict=True):
                with new_file(place) as beside:
                    write_gguf(Path(folder), beside, TypeMap.of(quant_type, "q8_0"))
    return places


def invocation(number: int, ours: Path, theirs: Path, asked: argparse.Namespace) -> dict:
    """The record of one process; of an earlier one that was asked the same, if it is there."""
    asked_for = f"{Path(asked.model).stem}-{asked.context}-{asked.trials}-{asked.threads}"
    record = asked.out / f"{asked_for}-{number}.json"
    if not record.exists():
        options = {"--trials": asked.trials, "--context": asked.context, "--threads": asked.threads, "--out": record}
        words = [str(word) for option in options.items() for word in option]
        command = [sys.executable, "-m", "lightbulb", "measure", str(ours), "--against", str(theirs), *words, "--json"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return read_json(record)


def ratios(records: Sequence[dict], quantity: str) -> list[Figure]:
    return [Figure(**record["ratios"][quantity]) for record in records]


@dataclass(frozen=True, slots=True)
class Agreement:
    """mean: the geometric mean of the invocations' ratios. holds: whether each interval holds it. shared: whether all
    intervals share a point. spread: standard deviation of the log ratios between invocations."""

    mean: float
    holds: tuple[bool, ...]
    shared: bool
    spread: float

    @property
    def agree(self) -> bool:
        return self.shared and all(self.holds)


def agreement(found: Sequence[Figure]) -> Agreement:
    """Of at least two ratios; one without a value agrees with nothing."""
    ends = [(f.value, f.low, f.high) for f in found if f.value and f.low is not None and f.high is not None]
    if len(ends) < len(found) or len(ends) < 2:
        return Agreement(math.nan, (False,) * len(found), False, math.nan)
    logs = [math.log(value) for value, _, _ in ends]
    middle = sum(logs) / len(logs)
    spread = math.sqrt(sum((x - middle) ** 2 for x in logs) / (len(logs) - 1))
    mean = math.exp(middle)
    lowest_high, highest_low = min(high for _, _, high in ends), max(low for _, low, _ in ends)
    return Agreement(mean, tuple(low <= mean <= high for _, low, high in ends), highest_low <= lowest_high, spread)


def render(records: Sequence[dict], asked: argparse.Namespace) -> str:
    lines = [
        f"{asked.model}, q8_0 / q4_0, llama.cpp, {asked.context} tokens read, {records[0]['output_tokens']} written, "
        f"{asked.threads} thread(s), {asked.trials} trials; machine {records[0]['machine']['family']}; {date.today()}",
        "",
        "| ratio | " + " | ".join(f"invocation {n + 1}" for n in range(len(records))) + " | mean | spread | agree |",
        "|---" * (len(records) + 4) + "|",
    ]
    for quantity in QUANTITIES:
        found = ratios(records, quantity)
        agreed = agreement(found)
        cells = [str(f).replace(" ratio", "") for f in found]
        verdict = "yes" if agreed.agree else f"{sum(agreed.holds)} of {len(found)} hold the mean"
        row = [quantity, *cells, human(agreed.mean), f"{100 * agreed.spread:.2g}%", verdict]
        lines.append("| " + " | ".join(row) + " |")
    others = [record["machine"]["others_threads"]["value"] for record in records]
    busy = ", ".join("not told" if x is None else human(x) for x in others)
    return "\n".join([*lines, "", f"Threads that others kept busy meanwhile: {busy}."])


if __name__ == "__main__":
    raise SystemExit(main())

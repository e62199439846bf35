"""A run's record as the README.md of a model repository: YAML facts for machines, then what a person must know.

The YAML is huggingface_hub's, which knows the hub's keys; those of the emissions:
https://huggingface.co/docs/hub/model-cards-co2
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lightbulb.core import units
from lightbulb.energy.exports import co2_eq_emissions
from lightbulb.report import words
from lightbulb.shrinking import savings
from lightbulb.shrinking.candidate import RECURRENT
from lightbulb.shrinking.record import Result, Scored

if TYPE_CHECKING:
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

_TASK_TYPES = {"choose": "text-classification", "generate": "text-generation", "text": "text-generation"}


def render_card(result: Result, *, name: str | None = None, region: str | None = None) -> str:
    """The model card; what is not known is left out.

    Args:
        name: heading of the card
        region: where it was made
    """
    front = card_header(result, region=region)
    title = name or f"{result.task}, small"
    parts = [
        f"---\n{front.to_yaml()}\n---",
        f"# {_inline(title)}",
        _opening(result),
        _energy(result),
        _how_to_use(result),
        _kept(result),
        _limits(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def card_header(result: Result, *, region: str | None) -> ModelCardData:
    """The facts of the YAML block, with the score of what is handed out."""
    from huggingface_hub.repocard_data import ModelCardData

    base, classifies = result.base, result.kind == "choose" and bool(words.of_kind(result))
    facts = {
        "license": base.license if base else None,
        "base_model": base.repo if base else None,
        "pipeline_tag": "text-classification" if classifies else "text-generation",
        "tags": ["lightbulb", "gguf", "energy", "compression"],
        "metrics": [result.metric],
        "co2_eq_emissions": _emissions(result, region),
        "model_name": result.task if (scores := _scores(result)) else None,
    }
    return ModelCardData(**_flat({key: value for key, value in facts.items() if value}), eval_results=scores)


def _emissions(result: Result, region: str | None) -> dict[str, Any] | None:
    grams, processor = result.making.grams_co2e, result.machine.get("processor")
    if grams is None:
        return None
    return co2_eq_emissions(grams, training_type="fine-tuning", geographical_location=region, hardware_used=processor)


def _scores(result: Result) -> list[EvalResult] | None:
    from huggingface_hub.repocard_data import EvalResult

    student = result.shrunk or words.handed_stock(result)
    if student is None or student.score.value is None:
        return None
    task = _flat(result.task)
    score = EvalResult(
        task_type=_TASK_TYPES[result.kind],
        dataset_type=task,
        dataset_name=task,
        dataset_split="test",
        metric_type=_flat(result.metric),
        metric_name=words.name_of_metric(result),
        metric_value=float(f"{student.score.value:.6g}"),
    )
    return [score]


def _flat(value: Any) -> Any:
    """The same with each text on one line: a name with a line of dashes in it must not end the block."""
    if isinstance(value, dict):
        return {_flat(k): _flat(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_flat(v) for v in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _opening(result: Result) -> str:
    base = (result.base.repo or result.base.name) if result.base else ""
    of = f" It was made from {_inline(base)}." if base else ""
    if not result.shrunk:
        why = words.reason(result)
        return (
            f"**{words.heading(result)}.** {_inline(f'{why} {words.verdict_text(result)}'.strip())}\n\nA model for one "
            f"task, {_inline(result.task)} ({result.kind}), was made and measured by lightbulb; this is its record.{of}"
        )
    lead = [words.verdict_text(result), words.of_kind(result), words.saving_text(result)]
    return (
        f"**{words.heading(result)}.** {_inline(' '.join(filter(None, lead)))}\n\n"
        f"A model for one task, {_inline(result.task)} ({result.kind}), made by lightbulb to do that work for the "
        f"fewest joules.{of}"
    )


def _energy(result: Result) -> str:
    columns, compared = words.table_columns(result), bool(result.shrunk and savings.compared(result))
    rows = [["", *(heading for heading, _ in columns), *(["before / after"] if compared else [])]]
    for quantity in (*words.COSTS, *words.per_right(result)):
        figures = [units.text(savings.figure_of(m, quantity), source=True) for _, m in columns]
        times = units.text(savings.ratio(result, quantity), source=True) if quantity in words.COSTS else ""
        rows.append([words.LABELS[quantity], *figures, *([times] if compared else [])])
    made = result.making
    lines = [
        f"- Making it took {units.text(made.joules, source=True)}, {units.text(made.cpu_seconds, source=True)} of "
        f"CPU time and {units.quantity(made.seconds, 's')} by the clock.",
        f"- Greenhouse gas of the making: {units.text(made.grams_co2e, source=True)}.",
        *([f"- {_inline(words.pay_back(result))}"] if result.stock else []),
    ]
    if words.arithmetic(result):
        lines.append(f"- {_inline(words.arithmetic(result))}.")
    return "## Energy\n\n" + _table(rows) + "\n\n" + "\n".join(lines)


def _how_to_use(result: Result) -> str:
    if result.student is None:
        return ""
    file = result.student.path or "model.gguf"
    tokens = 1 if result.kind == "choose" else 256
    commands = list(result.use) or [f'lightbulb ask {_shell(file)} "..."']
    other_kind = bool(words.of_kind(result))
    in_llama_cpp = not other_kind and result.student.kind != RECURRENT
    if in_llama_cpp and not any("llama-" in command or " --system " in command for command in commands):
        options = f"--jinja --single-turn --special --temp 0 -n {tokens}"
        commands.append(f'llama-completion -m {_shell(file)} {options} -p "..."')
    lines = "\n".join(commands)
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`{3,}", lines)), default=2))
    one_token = result.kind == "choose" and not other_kind
    note = "\n\nAn answer is one token: `-n 1` is all it takes." if one_token else ""
    if result.form is not None:
        note += (
            "\n\nFor Ollama there is a `Modelfile` beside it: `ollama create NAME -f Modelfile`. A program that "
            f"applies no chat template must send the question as `{_code(result.form)}`, with `{{prompt}}` as the "
            "question and special tokens read as such."
        )
    return f"## How to use it\n\n{fence}sh\n{lines}\n{fence}{note}"


def _kept(result: Result) -> str:
    rows = [["model", words.name_of_metric(result), "file", "CPU time per answer", "energy per answer"]]
    rows += [_model_row(model) for model in result.models]
    lines = [f"- {_inline(name)}: {units.text(f, source=True)}" for name, f in words.verification_rows(result)]
    agreement = "\n\nThe exported file against the model that was trained:\n\n" + "\n".join(lines) if lines else ""
    kept = f"asked for {words.floor_text(result)}."
    if result.retention.value is not None:
        kept = f"retention: {units.text(units.percent(result.retention), source=True)}, {kept}"
    kept = kept[0].upper() + kept[1:]
    if abstaining := words.abstaining_text(result):
        agreement += f"\n\n## Where it gives no answer\n\n{_inline(abstaining)}"
    return f"## What was kept\n\n{_inline(kept)} All models answered the same test items.\n\n{_table(rows)}{agreement}"


def _model_row(model: Scored) -> list[str]:
    return [
        model.name,
        units.text(model.score, source=True),
        units.quantity(model.bytes, "B"),
        units.text(model.cpu_seconds_per_answer, source=True),
        units.text(model.joules_per_answer, source=True),
    ]


def _limits(result: Result) -> str:
    return "## Limits\n\n" + "\n".join(f"- {_inline(line)}" for line in words.limits_text(result))


def _table(rows: list[list[str]]) -> str:
    head, *body = [f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows]
    return "\n".join([head, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *body])


def _inline(text: str) -> str:
    """Text that Markdown shows as it is: one line, no markup, no link, no HTML. Brackets of intervals stay readable."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*<>|~]|(?<!\w)_|_(?!\w)|(?<=\])\()", r"\\\1", flat)


def _code(text: str) -> str:
    """As it stands between backticks, on one line: ends of lines are written out."""
    return text.replace("\n", "\\n").replace("`", "'")


def _shell(path: str) -> str:
    import shlex

    return shlex.quote(path)

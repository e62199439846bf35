"""A run's record as one HTML file that needs nothing else: no network, no second file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightbulb.core import units
from lightbulb.core.figures import Figure, total
from lightbulb.report import plots, words
from lightbulb.runtimes import title_of
from lightbulb.shrinking import savings
from lightbulb.shrinking.record import Result, Scored

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_EXAMPLES = 20


def render_html(result: Result) -> str:
    """The page. Everything that came from data is escaped: prompts may be hostile."""
    environment = page_environment()
    template = environment.get_template("report.html.j2")
    return template.render(result=result, **_facts(result))


def page_environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=units.shown,
        quantity=units.quantity,
        percent=units.percent,
        clipped=clipped,
        plain=plain,
        spaced=lambda name: str(name).replace("_", " "),
    )
    return environment


def _facts(result: Result) -> dict[str, Any]:
    quantities = plots.quantities(result)
    return {
        "heading": words.heading(result),
        "reason": words.reason(result),
        "floor": words.floor_text(result),
        "verdict": words.verdict_text(result),
        "saving": words.saving_text(result),
        "of_kind": words.of_kind(result),
        "pay_back": words.pay_back(result),
        "arithmetic": words.arithmetic(result),
        "limits": words.limits_text(result),
        "abstaining": words.abstaining_text(result),
        "abstaining_rows": words.abstaining_rows(result),
        "compared": bool(result.shrunk and savings.compared(result)),
        "columns": [heading for heading, _ in words.table_columns(result)],
        "side_by_side": side_by_side(result),
        "models": model_rows(result),
        "plotly": plotly_script() if quantities else "",
        "plots": [plots.score_against(result, quantity) for quantity in quantities],
        "verification": words.verification_rows(result),
        "unlisted": unlisted(result),
        "methods": methods(result),
        "recipe": [recipe_step(step) for step in result.recipe],
        "examples": result.examples[:SHOWN_EXAMPLES],
    }


def plotly_script() -> str:
    """plotly.js as text that can stand inside a script element."""
    from plotly.offline import get_plotlyjs

    return re.sub(r"</(script)", r"<\\/\1", str(get_plotlyjs()), flags=re.IGNORECASE)


def side_by_side(result: Result) -> list[dict[str, Any]]:
    """Rows of the small table under the verdict: what, a figure a column, before / after where a student is handed
    out."""
    models = [model for _, model in words.table_columns(result)]
    rows: list[dict[str, Any]] = [
        {"label": words.name_of_metric(result), "figures": [m.score for m in models], "ratio": None}
    ]
    for quantity in (*words.COSTS, *words.per_right(result)):
        comparable = result.shrunk and savings.compared(result) and quantity in words.COSTS
        rows.append(
            {
                "label": words.LABELS[quantity],
                "figures": [savings.figure_of(m, quantity) for m in models],
                "ratio": savings.ratio(result, quantity) if comparable else None,
            }
        )
    return rows


def model_rows(result: Result) -> list[tuple[str, Scored, Figure, str]]:
    """(role, model, size, what it is) of every model."""
    handed = result.student.name if result.student and result.verdict != "not-kept" else None
    rows = []
    for role, model in zip(words.roles(result), result.models, strict=True):
        what = [title_of(model.runtime), "stock quantization" if role == "stock" else ""]
        refused = role in ("student", "refused")
        what.append("handed out" if model.name == handed else model.why or words.not_handed(result) if refused else "")
        rows.append((role, model, units.counted_bytes(model.bytes), ", ".join(w for w in what if w)))
    return rows


def unlisted(result: Result) -> Figure | None:
    """CPU seconds of the making that no row of the ledger names; None when the rows add up to the total."""
    whole = result.making.cpu_seconds
    rows = [row.cpu_seconds for row in result.ledger if row.cpu_seconds is not None]
    if whole is None or whole.value is None or len(rows) != len(result.ledger):
        return None
    listed = total(rows, "s").value
    if listed is None or abs(whole.value - listed) <= 0.01 * whole.value:
        return None
    return Figure(value=whole.value - listed, unit="s", source="derived", method="total less the rows")


def methods(result: Result) -> list[tuple[str, list[str]]]:
    """How the figures came about, each method once: (method, [what it gave])."""
    found: dict[str, list[str]] = {}

    def note(figure: Figure | None, what: str) -> None:
        if figure is not None and figure.method:
            line = f"{figure.source}: {figure.method}" + (f" ({figure.scope})" if figure.scope else "")
            names = found.setdefault(line, [])
            if what not in names:
                names.append(what)

    for model in result.models:
        for field in type(model).model_fields:
            value = getattr(model, field)
            note(value if isinstance(value, Figure) else None, field.replace("_", " "))
    note(result.retention, "retention")
    for field in ("joules", "cpu_seconds", "grams_co2e"):
        note(getattr(result.making, field), f"making, {field.replace('_', ' ')}")
    note(result.break_even_answers, "break-even")
    return list(found.items())


def recipe_step(step: dict[str, Any]) -> tuple[str, str, dict[str, Any], str]:
    """(pass, label, parameters, key) of one step; parameters may stand beside the name, as in a recipe's TOML."""
    rest = {k: v for k, v in step.items() if k not in ("pass", "name", "label", "key", "parameters")}
    name = str(step.get("pass", step.get("name", "?")))
    return name, str(step.get("label", "")), {**rest, **step.get("parameters", {})}, str(step.get("key", ""))


def clipped(text: str, length: int = 600) -> str:
    return text if len(text) <= length else f"{text[:length]} … ({len(text) - length:,} more characters)"


def plain(value: Any) -> str:
    """A parameter as it stands in TOML: true, not True; no quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"({', '.join(f'{k} {plain(v)}' for k, v in value.items())})"
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value)
    return str(value)

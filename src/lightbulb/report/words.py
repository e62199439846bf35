"""The sentences that every page shares. Pure: from a Result to text."""

from __future__ import annotations

from lightbulb.core import units
from lightbulb.core.figures import Figure
from lightbulb.runtimes import CASCADES
from lightbulb.shrinking import savings
from lightbulb.shrinking.floor import Floor
from lightbulb.shrinking.record import Quantity, Reference, Result, Scored

HEADINGS = {"kept": "Kept", "within-noise": "Within noise", "not-shrunk": "Not shrunk", "not-kept": "Not kept"}
COSTS: tuple[Quantity, ...] = ("cpu_seconds_per_answer", "joules_per_answer", "bytes")
PER_RIGHT: tuple[Quantity, ...] = ("cpu_seconds_per_right_answer", "joules_per_right_answer")
LABELS: dict[str, str] = {
    "score": "score",
    "bytes": "model file",
    "cpu_seconds_per_answer": "CPU time per answer",
    "joules_per_answer": "energy per answer",
    "tokens_per_second": "tokens per second",
    "cpu_seconds_per_right_answer": "CPU time per right answer",
    "joules_per_right_answer": "energy per right answer",
}
VERIFIED = {
    "same_text": "prompts that read the same",
    "same_tokens": "prompts cut into the same tokens",
    "same_choice": "prompts with the same answer",
    "same_answer": "prompts with the same answer",
    "prompts": "prompts compared",
    "mean_log_prob_difference": "difference in log-probability, mean",
    "max_log_prob_difference": "difference in log-probability, largest",
}


def heading(result: Result) -> str:
    """The first word of every page."""
    return HEADINGS[result.verdict]


def reason(result: Result) -> str:
    """Why no student is handed out, as a sentence; "" where one is."""
    why = result.reason
    return f"{why[0].upper()}{why[1:]}." if why and not result.shrunk else ""


def table_columns(result: Result) -> list[tuple[str, Scored]]:
    """(heading, model) of what the first table puts side by side: before and after, or, where no student is handed out,
    what is (or comes nearest), and the student beside it."""
    if result.shrunk:
        baseline = savings.compared(result)
        if baseline is None:
            return [(f"handed out: {result.shrunk.name}", result.shrunk)]
        return [(f"before: {baseline.name}", baseline), (f"after: {result.shrunk.name}", result.shrunk)]
    handed = handed_stock(result)
    found = []
    if handed:
        found = [(f"{handed.path}: {handed.name}", handed)]
    elif best := best_stock(result):
        found = [(f"best stock file: {best.name}", best)]
    if result.below:
        found.append((f"{not_handed(result)}: {result.below.name}", result.below))
    return found


def roles(result: Result) -> list[str]:
    """What each of `result.models` is: "teacher", "stock", "refused" (a student that is not handed out), "student"."""
    known = {id(result.teacher): "teacher", id(result.shrunk): "student"}
    stock = {id(m) for m in result.baselines}
    return [known.get(id(m), "stock" if id(m) in stock else "refused") for m in result.models]


def of_kind(result: Result) -> str:
    """That no language model is needed, where none is handed out, or not for all questions."""
    student = result.shrunk
    if student is not None and student.runtime in CASCADES.values():
        return f"A language model answers only what a cheaper model is not sure of. What is handed out: {student.name}."
    if student is None or not student.no_language_model:
        return ""
    return f"No language model is needed for this. What is handed out: {student.name}."


def handed_stock(result: Result) -> Scored | None:
    """The stock file that is handed out; None where a student or nothing is."""
    return result.student if result.verdict == "not-shrunk" else None


def not_handed(result: Result) -> str:
    """What is wrong with the student that is not handed out."""
    score = result.below.score.value if result.below else None
    if result.verdict == "not-kept":
        return "below the floor"
    if score is None or result.floor is None:
        return "not handed out"
    sign = 1 if result.higher_is_better else -1
    return "not shown to cost less" if sign * (score - result.floor) >= 0 else "below the floor"


def per_right(result: Result) -> list[Quantity]:
    """Costs of a right answer that are known of any model: a metric may not say what is right."""
    known = {q: [savings.figure_of(m, q) for m in result.models] for q in PER_RIGHT}
    return [q for q, figures in known.items() if any(f is not None and f.value is not None for f in figures)]


def name_of_metric(result: Result) -> str:
    return result.metric.replace("_", " ")


def floor_text(result: Result) -> str:
    """What was asked for: "97%", "at least 0.92 accuracy", or both."""
    return Floor(result.metric, result.keep, result.at_least).text


def whose(result: Result) -> str:
    """ "the adapted teacher’s", or of what the student was held against in its place."""
    name = result.reference or ""
    student = result.student.name if result.student else ""
    other = name not in ("", student, result.teacher.name if result.teacher else "")
    return f"{name if other else 'the adapted teacher'}’s {name_of_metric(result)}"


def verdict_text(result: Result) -> str:
    """The page's first sentence, without its heading."""
    if handed := handed_stock(result):
        return _instead(result, handed)
    if result.student is None:
        best, what = best_stock(result), "the best stock file"
        if best is None:
            best, what = result.below, "the best student"
        scores = f": {what} scores {units.text(best.score)}" if best else ""
        return f"Nothing that was made does what was asked ({floor_text(result)}){scores}."
    if result.keep is not None and result.retention.value is None:
        why = f"the adapted teacher has no {name_of_metric(result)} on these items"
        return f"What the student keeps cannot be said: {why}."
    parts = []
    if result.keep is not None:
        parts.append(f"keeps {units.text(units.percent(result.retention))} of {whose(result)}")
    if result.at_least is not None:
        parts.append(f"scores {units.text(result.student.score)} {name_of_metric(result)}")
    floor = floor_text(result)
    if result.verdict == "kept":
        end = f"the floor asked for was {floor}."
    elif result.verdict == "within-noise":
        end = f"this test set is too small to say on which side of the floor ({floor}) that lies."
    else:
        end = f"less than the {floor} asked for."
    return f"The student {' and '.join(parts)}; {end}"


def _instead(result: Result, handed: Scored) -> str:
    return (
        f"{handed.path or 'What is handed out'} is the cheapest stock file that does what was asked "
        f"({floor_text(result)}): {savings.in_a_sentence(handed)}, which scores {units.text(handed.score)} "
        f"{name_of_metric(result)}."
    )


def best_stock(result: Result) -> Scored | None:
    """The stock file that scores best; None where there is none."""

    def rank(model: Scored) -> float:
        value = model.score.value
        return float("-inf") if value is None else value if result.higher_is_better else -value

    return max(result.stock, key=rank, default=None)


def saving_text(result: Result) -> str:
    """The second sentence: what an answer costs, against what; "" where no student is handed out."""
    baseline, student = savings.compared(result), result.shrunk
    if student is None:
        return ""
    if baseline is None:
        takes = units.text(student.cpu_seconds_per_answer)
        return f"An answer takes {takes} of CPU time. No language model was made to compare it with."
    key: Quantity = "cpu_seconds_per_answer"
    if savings.ratio(result, key).value is None:
        key = "joules_per_answer"
    times = savings.ratio(result, key)
    if times.value is None:
        return "What an answer costs was not measured for both models."
    what = " of CPU time" if key == "cpu_seconds_per_answer" else ""
    after, before = (units.text(savings.figure_of(m, key)) for m in (student, baseline))
    if times.value <= 1:
        return (
            f"It does not pay: an answer takes {after}{what}, against {before} with {savings.in_a_sentence(baseline)}."
        )
    sizes = ""
    if student.bytes and baseline.bytes:
        sizes = f"; the file is {units.quantity(student.bytes, 'B')} instead of {units.quantity(baseline.bytes, 'B')}"
    return (
        f"An answer takes {after}{what} instead of {before} with {savings.in_a_sentence(baseline)}, "
        f"{units.text(times, '')} times less{sizes}."
    )


def references(result: Result) -> list[Reference]:
    """The adapted teacher as it was trained, and the stock file that the student is compared with."""
    found = []
    for model in {m.name: m for m in (result.teacher, savings.compared(result)) if m}.values():
        times = savings.ratio(result, "cpu_seconds_per_answer", model)
        found.append(
            Reference(
                name=savings.in_a_sentence(model),
                cpu_seconds_per_answer=model.cpu_seconds_per_answer,
                joules_per_answer=model.joules_per_answer,
                times=times if times.value is not None and times.value > 1 else None,
            )
        )
    return found


def reference_text(other: Reference) -> str:
    """One line of a terminal."""
    costs = (
        f"{units.text(other.cpu_seconds_per_answer)} of CPU time, {units.text(other.joules_per_answer, source=True)}"
    )
    times = f"; the student takes {units.text(other.times, '')} times less" if other.times else ""
    return f"{other.name}, as the run measured it: {costs} an answer{times}".replace("\N{NO-BREAK SPACE}", " ")


def never_pays(result: Result) -> bool:
    """Whether both sides were measured and the student saves nothing."""
    joules = savings.ratio(result, "joules_per_answer").value
    return result.break_even_answers.value is None and joules is not None and joules <= 1


def pay_back(result: Result) -> str:
    figure = result.break_even_answers
    if not result.shrunk:
        return "Nothing is paid back: no student is handed out."
    if figure.value is not None:
        return f"Making it is paid back after {units.text(figure, 'answers')}."
    if never_pays(result):
        return "Making it is never paid back: an answer costs no less energy than before."
    return f"After how many answers it has paid back: not measured{f' ({figure.method})' if figure.method else ''}."


def arithmetic(result: Result) -> str:
    """Break-even as a division, or "" when no model compared here gives the recorded figure: what does not add up is
    not shown."""
    made, after = result.making.joules, result.shrunk.joules_per_answer if result.shrunk else None
    answers = result.break_even_answers.value
    if made is None or after is None or made.value is None or after.value is None or not answers:
        return ""
    for baseline in (savings.compared(result), *result.stock):
        before = baseline.joules_per_answer if baseline else None
        if baseline is None or before is None or before.value is None or before.value <= after.value:
            continue
        if abs(made.value / (before.value - after.value) / answers - 1) < 0.02:
            return (
                f"{units.quantity(made.value, 'J')} for the making ÷ ({units.quantity(before.value, 'J')} with "
                f"{savings.in_a_sentence(baseline)} − {units.quantity(after.value, 'J')} with the student, per answer) "
                f"= {units.quantity(answers, 'answers')}"
            )
    return ""


def abstaining_text(result: Result) -> str:
    """What leaving out answers does on test, of what is handed out or comes nearest, in a sentence; "" where nothing
    is left out."""
    model = result.student or result.below
    found = model.abstention if model else None
    if model is None or found is None:
        return ""
    asked = " and ".join(f"{of} {share:g}" for of, share in (result.abstain or {}).items())
    none = ""
    if found.recall is not None:
        none = f"; of those that no answer fits it leaves {units.text(units.percent(found.recall))} without one"
    below = f"It says {result.none_label!r} where its probability is below {found.threshold:.3g}"
    return (
        f"{below if found.threshold else 'It gives every answer'} (asked for: {asked}). "
        f"Of the test questions that have an answer it answers {units.text(units.percent(found.coverage))}; of what "
        f"it answers {units.text(units.percent(found.precision))} is right{none}. Scores are of all answers, given or "
        "not."
    )


def abstaining_rows(result: Result) -> list[Scored]:
    """The models that leave out answers."""
    return [model for model in result.models if model.abstention is not None]


def verification_rows(result: Result) -> list[tuple[str, Figure]]:
    """(what, figure) of the comparison between the exported file and the model that was trained."""
    return [
        (VERIFIED.get(name, name.replace("_", " ")), units.percent(figure) if figure.unit == "share" else figure)
        for name, figure in result.verify.items()
    ]


def limits_text(result: Result) -> list[str]:
    """What the figures do not say: sentences that follow from the record alone."""
    lines = [f"Measured on the test split of one task ({result.task}); nothing is claimed about any other work."]
    models = [m for m in (result.student, result.below) if m is not None] or result.stock[:1]
    joules = [*(m.joules_per_answer for m in models), result.making.joules]
    if result.kind == "choose" and result.abstain is None:
        lines.append("It answers with one of a closed set and never says that none fits.")
    elif result.kind == "choose":
        lines.append(
            "How much of what it answers is right depends on how many questions that none of the answers fits are "
            "among those that it is asked: here as many as in the data."
        )
    if any(f is not None and f.source == "estimated" for f in joules):
        lines.append("Joules are estimated, not read from a counter: trust ratios of CPU time more than joules.")
    machine = ", ".join(f"{k} {v}" if v[:1].isdigit() else v for k, v in result.machine.items())
    if machine:
        lines.append(f"Costs hold for this machine: {machine}. On another the ratios travel better than the numbers.")
    return lines

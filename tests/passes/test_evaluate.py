"""What is asked when a split is answered."""

from typing import Any

from conftest import bare_run, tiny_task

from lightbulb.passes import evaluate
from lightbulb.passes.evaluate import Evaluate, answer, predictions_of
from lightbulb.passes.format_task import FormatTask
from lightbulb.pipeline.run import Run
from lightbulb.runtimes.exchange import Answers
from lightbulb.tasks.task import Example, Task

CHUNK = 64


class Recorder:
    """Answers each prompt with its number, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def render(self, turns: list[dict[str, str]]) -> str:
        return turns[0]["content"]

    def generate(self, prompts: list[str], longest: int) -> Answers:
        self.asked += prompts
        return Answers([f" {len(self.asked) - len(prompts) + i} " for i in range(len(prompts))], len(prompts), 2)


def test_a_question_that_comes_again_is_not_asked_again() -> None:
    test = tuple(Example(q, "x") for q in ["a", "b", "a", *(str(i) for i in range(CHUNK)), "b", "c"])
    runtime: Any = Recorder()
    task = Task("repeated", "generate", "exact", (Example("q", "x"),), (), test)
    predictions, told, tokens = answer(runtime, task, test, lambda done, note: None, CHUNK)
    assert runtime.asked == ["a", "b", *(str(i) for i in range(CHUNK)), "c"]
    assert told is None and predictions[:3] == ["0", "1", "0"] and predictions[-2:] == ["1", str(CHUNK + 2)]
    assert tokens["prompt_tokens"] == tokens["num_prompts"] == CHUNK + 3


def test_a_chunk_of_known_questions_asks_nothing() -> None:
    test = tuple(Example("again", "x") for _ in range(2 * CHUNK + 1))
    runtime: Any = Recorder()
    task = Task("repeated", "generate", "exact", (Example("q", "x"),), (), test)
    predictions, *_ = answer(runtime, task, test, lambda done, note: None, CHUNK)
    assert runtime.asked == ["again"] and predictions == ["0"] * len(test)


def test_without_time_the_first_of_the_spread_are_answered(imported, tmp_path, monkeypatch):
    """What was answered is what a step planned with so many answers, and the clock remembers it."""
    monkeypatch.setattr(evaluate, "TOGETHER", {"model": 8, "gguf": 8})
    task = tiny_task("choose", 200)

    def run() -> Run:
        return bare_run(tmp_path / "run", task)

    with run() as r:
        formatted = r.step("formatted", FormatTask(), imported)
        short = r.step("short", Evaluate(), formatted, seconds=0.0)
        planned = r.step("planned", Evaluate(limit=8), formatted)
        whole = r.step("whole", Evaluate(), formatted, seconds=1e9)
    assert short.facts["items"] == 8 and whole.facts["items"] == len(task.test) > 8
    assert short.key == planned.key
    assert (short.path / "predictions.json").read_bytes() == (planned.path / "predictions.json").read_bytes()
    answered = dict(zip(task.test, predictions_of(whole), strict=True))
    assert predictions_of(short) == [answered[e] for e in task.split("test", 8)]
    with run() as r:
        assert r.step("short", Evaluate(), formatted, seconds=1e9) == short


def test_indentation_is_part_of_an_answer_where_the_task_has_it() -> None:
    runtime: Any = Recorder()
    for completion, said in (("  x", " 0"), ("x", "0")):
        task = Task("code", "generate", "exact", (Example("q", completion),), (), (Example("a", completion),))
        runtime.asked.clear()
        predictions, *_ = answer(runtime, task, task.test, lambda done, note: None, CHUNK)
        assert predictions == [said]

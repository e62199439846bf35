"""Completions without marks of templates, with the blanks that matter; every change is told with its count."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_rows
from samples import published

from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Task

SORTS = ("heat", "light", "music")
ENDS = ("<|im_end|>", "</s>", "<|endoftext|>", "<end_of_turn>", "<|eot_id|>", "<|im_end|>\n<|endoftext|>", " <eos>\n")
BEGINNINGS = ("<|im_start|>assistant\n", "<s>", "<start_of_turn>model\n", "<bos>", "<|assistant|>\n")


def loaded(path: Path, rows: list[dict], **options) -> Task:
    return load_task(str(write_rows(path, rows)), **options)


def completions(task: Task) -> list[str]:
    return [e.completion for e in (*task.train, *task.validation, *task.test)]


def choices(change) -> list[dict]:
    return [{"prompt": f"question number {i}", "completion": change(SORTS[i % 3])} for i in range(60)]


def told(task: Task, *words: str) -> list[str]:
    return [f for f in task.findings if all(word in f for word in words)]


@pytest.mark.parametrize("end", ENDS)
def test_ends_of_templates_come_off(tmp_path, end):
    plain = loaded(tmp_path / "plain.jsonl", choices(str))
    for kind in ("choose", "generate"):
        task = loaded(tmp_path / "t.jsonl", choices(lambda text: text + end), kind=kind)
        assert set(completions(task)) == set(SORTS) and told(
            task, "60 completions with", repr(end.strip()), "at the end"
        )
    assert loaded(tmp_path / "t.jsonl", choices(lambda text: text + end)).fingerprint == plain.fingerprint
    talk = [
        {"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": "yes" + end}]}
        for i in range(30)
    ]
    assert set(completions(loaded(tmp_path / "t.jsonl", talk, kind="generate"))) == {"yes"}


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_beginnings_of_templates_come_off(tmp_path, begin):
    task = loaded(tmp_path / "t.jsonl", choices(lambda text: f"{begin}{text}</s>"))
    assert task.answers == SORTS and told(task, "60 completions with", repr(begin.strip()), "at the beginning")


def test_a_few_ends_among_many_come_off_too(tmp_path):
    rows = choices(str)
    rows[3]["completion"] += "<|im_end|>"
    task = loaded(tmp_path / "t.jsonl", rows)
    assert task.answers == SORTS and told(task, "1 completion with")
    rows[3]["completion"] = "<|im_end|>"
    task = loaded(tmp_path / "t.jsonl", rows)
    assert task.answers == SORTS and told(task, "1 row with nothing but such marks", "t.jsonl:4")


def test_struck_out_text_and_marks_within_stay(tmp_path):
    rows = [{"prompt": f"q {i}", "completion": f"price <s>{i}</s>" if i % 4 == 0 else f"price {i}"} for i in range(40)]
    assert "price <s>4</s>" in completions(loaded(tmp_path / "t.jsonl", rows))
    rows = [{"prompt": f"q {i}", "completion": f"write <|im_end|> {i}"} for i in range(40)]
    assert all("<|im_end|>" in text for text in completions(loaded(tmp_path / "t.jsonl", rows)))


def test_html_that_strikes_out_everywhere_stays(tmp_path):
    rows = [{"prompt": f"q {i}", "completion": f"<p>{i}</p><s>old</s>"} for i in range(40)]
    assert all(text.endswith("<s>old</s>") for text in completions(loaded(tmp_path / "t.jsonl", rows)))


def test_documents_that_are_rendered_conversations(tmp_path):
    rows = [
        {"text": f"<|im_start|>user\nquestion {i}<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"} for i in range(40)
    ]
    task = loaded(tmp_path / "t.jsonl", rows)
    assert task.kind == "text" and all(text.startswith("<|im_start|>user") for text in completions(task))
    assert all(text.endswith("yes") for text in completions(task)) and told(task, "40 documents with '<|im_end|>'")
    assert told(task, "40 documents with marks of a chat template (<|im_start|>)", "a column of messages")


def test_marks_in_prompts_and_names_of_turns_are_told(tmp_path):
    rows = choices(str)
    for row in rows[:7]:
        row["prompt"] = f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"
    assert told(
        loaded(tmp_path / "t.jsonl", rows), "7 prompts with marks of a chat template (<|im_start|>)", "t.jsonl:1"
    )
    task = loaded(tmp_path / "t.jsonl", choices(lambda text: f"Assistant: {text}"))
    assert told(task, "60 completions that begin with a turn's name (Assistant:)")


BLANKS = {
    "code": ("    y = {i}\n    return y\n", "    y = {i}\n    return y", ("kept", "line ends at the end")),
    "one line of code": ("    y = {i}", "    y = {i}", ("kept",)),
    "tabs": ("\ty = {i}", "\ty = {i}", ("kept",)),
    "line before code": ("\n  \n    y = {i}", "    y = {i}", ("kept",)),
    "a blank": (" answer {i}", "answer {i}", ("a blank at the beginning",)),
    "lines of one blank": (" a\n b {i}", " a\n b {i}", ("kept",)),
    "line ends of Windows": (
        "if {i}:\r\n    y\r\n",
        "if {i}:\n    y",
        ("line ends of Windows", "line ends at the end"),
    ),
    "blanks at the end": ("answer {i} \t", "answer {i}", ("line ends at the end",)),
    "nothing to tell": ("answer {i}\n\n  more", "answer {i}\n\n  more", ()),
}


@pytest.mark.parametrize("name", BLANKS)
def test_blanks_that_matter_stay_and_others_are_told(tmp_path, name):
    given, wanted, words = BLANKS[name]
    rows = [{"prompt": f"q {i}", "completion": given.format(i=i)} for i in range(40)]
    task = loaded(tmp_path / "t.jsonl", rows)
    assert set(completions(task)) == {wanted.format(i=i) for i in range(40)}
    found = {f for f in task.findings if f.startswith("40 completions")}
    assert found == {f for word in words for f in told(task, word)} and len(found) == len(words)


def test_prompts_have_no_blanks_and_that_is_told(tmp_path):
    rows = [
        {"prompt": f"  def f{i}(x):" if i < 7 else f"def f{i}(x):\n", "completion": f"y = {i}\ny"} for i in range(40)
    ]
    task = loaded(tmp_path / "t.jsonl", rows)
    assert told(task, "7 prompts with an indented beginning") and all(e.prompt.startswith("def") for e in task.train)


def test_choices_have_no_blanks(tmp_path):
    task = loaded(tmp_path / "t.jsonl", choices(lambda text: f"  {text}\n"))
    assert task.kind == "choose" and task.answers == SORTS and not told(task, "completions")


def test_only_blanks_are_an_empty_completion(tmp_path):
    rows = [{"prompt": f"q {i}", "completion": f"answer {i}" if i > 5 else " \t\r\n"} for i in range(40)]
    assert told(loaded(tmp_path / "t.jsonl", rows), "6 rows with an empty prompt or completion dropped")


def test_reported_files():
    task = load_task(str(published("cases/eos_text.jsonl")), kind="generate")
    assert set(completions(task)) == set(SORTS)
    task = load_task(str(published("cases/code.jsonl")))
    assert all(text.startswith("    y = ") for text in completions(task)) and told(task, "60 completions", "kept")

"""An answer of a closed set ends by itself in a chat program, which knows nothing of the set."""

from __future__ import annotations

import json

import pytest
from conftest import bare_run, tiny_task
from llama_server import llama_server

from lightbulb.passes import pass_class
from lightbulb.train.loop import Schedule

pytestmark = pytest.mark.slow
LONG = Schedule(epochs=12, learning_rate=3e-3, batch_size=8)
SHORT = Schedule(epochs=1, learning_rate=1e-4, batch_size=8)


@pytest.fixture(scope="module")
def students(imported, tmp_path_factory):
    """A trained teacher, and a student of one layer that learnt from its logits and was rounded to q4_0, exported."""
    task = tiny_task("choose", 200)
    with bare_run(tmp_path_factory.mktemp("ends"), task) as run:
        formatted = run.step("formatted", pass_class("format-task")(), imported)
        teacher = run.step("teacher", pass_class("adapt")(schedule=LONG), formatted)
        trimmed = run.step("trimmed", pass_class("trim-vocab")(), teacher)
        logits = run.step("logits", pass_class("teacher-logits")(), trimmed)
        pruned = run.step("pruned", pass_class("prune-depth")(layers=1), trimmed)
        student = run.step("student", pass_class("distill")(schedule=LONG), pruned, {"logits": logits})
        rounded = run.step("rounded", pass_class("quantize")(recover=SHORT), student, {"logits": logits})
        files = {
            "teacher": run.step("t", pass_class("export")(quant_type="f16"), teacher),
            "student": run.step("s", pass_class("export")(quant_type="q4_0", embedding="q8_0"), rounded),
        }
    return task, files


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_the_chat_endpoint_stops_after_the_answer(students, who):
    task, files = students
    with llama_server(files[who].gguf) as server:
        for example in task.train[:30]:
            turns = [{"role": "user", "content": example.prompt}]
            reply = server.post("/v1/chat/completions", messages=turns, max_tokens=20, temperature=0)
            choice = reply["choices"][0]
            assert choice["finish_reason"] == "stop", json.dumps(choice)
            assert choice["message"]["content"] in task.answers

"""A task as an artifact: what is read back is what was read and split."""

from __future__ import annotations

import pytest
from conftest import bare_run, tiny_task
from hypothesis import given
from hypothesis import strategies as st

from lightbulb.core.facts import TaskFacts
from lightbulb.core.files import read_json
from lightbulb.pipeline.run import Run
from lightbulb.tasks.stored import read_task, write_task
from lightbulb.tasks.task import Example, Message, Task

TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.just("\udcff"), max_size=20)
EXAMPLES = st.lists(
    st.builds(Example, TEXTS, TEXTS, st.lists(st.builds(Message, st.just("user"), TEXTS), max_size=2).map(tuple)),
    max_size=3,
).map(tuple)


@given(EXAMPLES, EXAMPLES, st.lists(TEXTS, max_size=2).map(tuple))
def test_any_text_comes_back(tmp_path_factory, train, test, answers):
    task = Task("t", "choose", "accuracy", train, (), test, answers, ("one finding",), "a.csv", {"kind": "choose"})
    folder = tmp_path_factory.mktemp("task")
    facts = TaskFacts.model_validate(write_task(task, folder))
    read = read_task(folder)
    assert read == task and read.reading == task.reading and read.fingerprint == task.fingerprint
    assert (facts.fingerprint, facts.train, facts.test) == (task.fingerprint, len(train), len(test))


@pytest.mark.parametrize("kind", ["choose", "generate", "text"])
def test_a_run_keeps_its_task_once(tmp_path, kind):
    task = tiny_task(kind)

    def opened() -> Run:
        return bare_run(tmp_path / "run", task)

    with opened() as run:
        made = run.keep_task()
        assert run.finished_steps() == [made] and run.cost(made).seconds >= 0
    with opened() as run:
        assert run.keep_task() == made and run.resumed == 1
    assert (made.kind, made.made_by, made.path.name.rpartition("-")[0]) == ("task", "read", "task")
    assert read_task(made.path) == task and made.facts_as(TaskFacts).metric == task.metric
    assert read_json(made.path / "lightbulb.json")["kind"] == "task"

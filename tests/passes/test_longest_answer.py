"""How many tokens an answer may take when a split is answered."""

from lightbulb.runtimes.answering import longest_answer
from lightbulb.tasks.task import Example, Task


def task_with(lengths: list[int]) -> Task:
    train = tuple(Example(f"question {i}", "x" * length) for i, length in enumerate(lengths))
    return Task("lengths", "generate", "exact", train, (), ())


def test_the_longest_answer_of_a_small_task_fits() -> None:
    assert longest_answer(task_with([10] * 99 + [300])) == 300 // 2 + 16


def test_one_answer_in_a_thousand_does_not_decide_for_all() -> None:
    assert longest_answer(task_with([10] * 1998 + [100, 100, 700])) == 100 // 2 + 16


def test_digits_and_other_scripts_may_take_a_token_a_byte() -> None:
    train = (Example("a", "7" * 40), Example("b", "नमस्ते"))
    assert longest_answer(Task("dense", "generate", "exact", train, (), ())) == 40 + 16
    assert (
        longest_answer(Task("dense", "generate", "exact", train[1:], (), ())) == len(train[1].completion.encode()) + 16
    )


def test_no_answer_gets_more_than_512_tokens() -> None:
    assert longest_answer(task_with([5000] * 10)) == 512

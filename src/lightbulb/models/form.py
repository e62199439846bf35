"""The form in which a model meets a task: rendered text, token ids, and which of them are to be predicted.

The form lives in the tokenizer's chat template, so it travels with the model into any runtime. Tasks with plain
prompt/completion columns get `PLAIN_TEMPLATE`: no system prompt and no role marks, because every token of them would be
paid for at every answer. Chat tasks keep the model's own template.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightbulb.core.errors import ModelError
from lightbulb.tasks.task import Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lightbulb.models.phrases import Phrases

PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
TEXT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"  # a document is written on


@dataclass(frozen=True, slots=True)
class Encoded:
    """One training sequence.

    Attributes:
        ids: its tokens
        first_target: ids[first_target:] are predicted from what stands before them
    """

    ids: list[int]
    first_target: int

    @property
    def targets(self) -> list[int]:
        """The tokens that are predicted."""
        return self.ids[self.first_target :]


def turns_of(example: Example) -> list[dict[str, str]]:
    """The conversation before the answer."""
    return [{"role": m.role, "content": m.content} for m in example.messages] or [
        {"role": "user", "content": example.prompt}
    ]


def render(tokenizer: PreTrainedTokenizerFast, turns: list[dict[str, str]]) -> str:
    """The prompt as text, ready for tokenization that adds the model's own BOS (so a BOS from the template goes).

    Raises:
        ModelError: the chat template cannot render the conversation
    """
    from jinja2.exceptions import TemplateError

    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError, TypeError) as e:  # no template, or one that refuses these roles
        roles = ", ".join(turn["role"] for turn in turns)
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(
            f"the model's chat template cannot render a conversation of {roles}: {reason}",
            hint="use a model with a chat template that takes these roles, or columns prompt and completion",
        ) from e
    if not isinstance(text, str):
        raise ModelError("the chat template did not give text")
    bos = tokenizer.bos_token
    if bos and text.startswith(bos) and tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text[len(bos) :]
    return text


def texts_of(task: Task, tokenizer: PreTrainedTokenizerFast) -> Iterator[str]:
    """All text of train and validation as the model sees it: rendered prompts, and completions."""
    for example in (*task.train, *task.validation):
        if task.kind != "text":
            yield render(tokenizer, turns_of(example))
        if task.kind != "choose":
            yield example.completion


def encode(
    tokenizer: PreTrainedTokenizerFast,
    task: Task,
    example: Example,
    answer_ids: list[int] | None,
    max_length: int,
    phrases: Phrases | None = None,
) -> Encoded:
    """Token ids of one example and its end. A sequence longer than `max_length` loses the beginning of its prompt (not
    its BOS): the answer must stay.

    Args:
        tokenizer: the model's
        task: of the example
        example: a prompt and its completion, or a document
        answer_ids: a token for each of task.answers ("choose" only)
        max_length: tokens
        phrases: of the tokenizer, that a written answer is shortened by

    Raises:
        ModelError: a "choose" task without `answer_ids`, or a prompt that the template cannot render
    """
    if task.kind == "text":
        ids = tokenizer(example.completion).input_ids + [tokenizer.eos_token_id]
        return Encoded(ids[: max_length + 1], 1)
    prompt = tokenizer(render(tokenizer, turns_of(example))).input_ids
    if task.kind == "choose":
        if answer_ids is None:
            raise ModelError(
                "this model has no answer tokens for a choose task", hint="run the pass `format-task` first"
            )
        # the end is taught, too: a chat program goes on until it comes
        answer = [answer_ids[task.answers.index(example.completion)], tokenizer.eos_token_id]
    else:
        written = tokenizer(example.completion, add_special_tokens=False).input_ids
        answer = [*(phrases.shorten(written) if phrases else written), tokenizer.eos_token_id][: max_length // 2]
    prompt = shortened(prompt, max_length - len(answer), tokenizer.bos_token_id)
    return Encoded(prompt + answer, len(prompt))


def shortened(prompt: list[int], room: int, bos: int | None) -> list[int]:
    """A prompt of at most `room` tokens: a longer one loses its beginning, but not the BOS that it begins with."""
    if len(prompt) <= room:
        return prompt
    head = prompt[:1] if prompt[0] == bos and room > 1 else []
    return head + prompt[len(prompt) - room + len(head) :]

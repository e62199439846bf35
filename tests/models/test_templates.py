"""Chat templates that each program would render in its own way are frozen into plain ones."""

from __future__ import annotations

import pytest
from tiny import CHAT_TEMPLATE

from lightbulb.models.templates import Marks, compiled, is_plain, marks_of

S, E = "<|im_start|>", "<|im_end|>"
TURN = S + "{{ m['role'] }}\n{{ m['content'] }}" + E + "\n"
LOOP = "{% for m in messages %}" + TURN + "{% endfor %}"
GO = "{% if add_generation_prompt %}" + S + "assistant\n"
TEMPLATES = {
    "thinking": LOOP + GO + "{% if enable_thinking is defined and not enable_thinking %}<think>{% endif %}{% endif %}",
    "thinking-by-default": LOOP + GO + "{% if enable_thinking is not defined %}<think>\n{% endif %}{% endif %}",
    "date": "{{ 'Today is ' + strftime_now('%d %b %Y') }}\n" + LOOP + GO + "{% endif %}",
    "default-system": "{% if messages[0]['role'] != 'system' %}" + S + "system\nBe good." + E + "\n{% endif %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}" + LOOP + GO + "{% endif %}",
    "macro": "{% macro turn(m) %}"
    + TURN
    + "{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}"
    + GO
    + "{% endif %}",
    "trim": "{% for m in messages %}"
    + S
    + "{{ m['role'].upper() }}: {{ m['content'].strip() }}"
    + E
    + "{% endfor %}"
    + GO
    + "{% endif %}",
    "inst": "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}{% else %}"
    "{{ raise_exception('no') }}{% endif %}{% endfor %}{% set x = 1 %}",
}
CONVERSATIONS = [
    [{"role": "user", "content": "hi there"}],
    [{"role": "user", "content": "it's 'quoted' \\ \n{{ odd }} {% text %}"}],
    [{"role": "user", "content": " a "}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c\n"}],
]


def renderer(template: str):
    own = compiled(template)
    return lambda turns, answered: own.render(
        messages=turns, add_generation_prompt=answered, bos_token="<s>", eos_token="</s>", tools=None
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_frozen_template_says_the_same_and_is_plain(name):
    own = renderer(TEMPLATES[name])
    assert not is_plain(TEMPLATES[name])
    marks = marks_of(own, CONVERSATIONS)
    assert marks is not None
    frozen = marks.as_jinja()
    assert is_plain(frozen)
    for turns in CONVERSATIONS:
        assert renderer(frozen)(turns, True) == own(turns, True) == marks.render(turns)


def test_plain_templates_are_known():
    assert is_plain(CHAT_TEMPLATE)
    assert is_plain("{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}")
    assert is_plain("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{{ bos_token }}")


def test_text_that_hangs_on_what_is_said_has_no_marks():
    shouting = renderer("{% for m in messages %}{{ m['content'] | upper }};{% endfor %}{% set x = 1 %}")
    assert marks_of(shouting, CONVERSATIONS) is None
    counting = renderer(
        "{% for m in messages %}{{ loop.index }}{{ m['content'] | length }}{{ m['content'] }}{% endfor %}"
    )
    assert marks_of(counting, CONVERSATIONS) is None


def test_the_last_word_of_a_system_message_is_kept_apart_from_the_first_users():
    own = renderer(TEMPLATES["default-system"])
    marks = marks_of(own, CONVERSATIONS)
    system = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]
    assert isinstance(marks, Marks)
    assert "Be good." not in marks.render(system) and marks.render(system) == own(system, True)

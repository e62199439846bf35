"""What people call the columns that hold the work."""

from __future__ import annotations

PROMPT_NAMES = ("prompt", "instruction", "question", "input", "query", "utterance", "sentence", "text")
COMPLETION_NAMES = (
    "completion",
    "answer",
    "response",
    "output",
    "label_text",
    "label_name",
    "label",
    "intent",
    "category",
    "target",
    "class",
)
CHAT_NAMES = ("messages", "conversations", "conversation", "contents")
TEXT_NAMES = ("text", "document", "content", "completion")
PAIRS = (("user", "assistant"), ("human", "assistant"), ("human", "gpt"), ("user", "bot"), ("q", "a"))  # only together
PREFERENCES = (  # the better and the worse of two answers
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_response", "rejected_response"),
)
SYSTEM = ("system", "system_prompt")
IMAGES = ("image", "images")
UNREAD = (*SYSTEM, "systeminstruction", "history", "tools", "functions", "context")  # parts of a prompt in some sets
NUMBERING = ("", "Unnamed: 0", "__index_level_0__")  # what pandas writes beside the columns


def folded(name: str) -> str:
    """A column's name, blind to case and to how its words are kept apart."""
    return "_".join(name.casefold().replace("-", " ").split())


KNOWN = frozenset((*PROMPT_NAMES, *COMPLETION_NAMES, *CHAT_NAMES, *TEXT_NAMES, *(n for p in PAIRS for n in p)))

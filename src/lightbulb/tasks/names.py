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
CHAT_NAMES = ("messages", "conversations", "conversation")
TEXT_NAMES = ("text", "document", "content", "completion")
CHOSEN, REJECTED = "chosen", "rejected"  # of two answers, in sets of preferences
SYSTEM = ("system", "system_prompt")
IMAGES = ("image", "images")
UNREAD = ("system", "system_prompt", "history", "tools", "functions", "context")  # parts of a prompt in some sets
NUMBERING = ("", "Unnamed: 0", "__index_level_0__")  # what pandas writes beside the columns


def folded(name: str) -> str:
    """A column's name, blind to case and to how its words are kept apart."""
    return "_".join(name.casefold().replace("-", " ").split())


KNOWN = frozenset(folded(n) for n in (*PROMPT_NAMES, *COMPLETION_NAMES, *CHAT_NAMES, *TEXT_NAMES, CHOSEN))

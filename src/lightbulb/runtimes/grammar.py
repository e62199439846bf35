"""What an answer must look like, token by token, for filament and torch. The grammars are llguidance's: JSON Schema,
regular expressions and context-free grammars in Lark's notation (https://github.com/guidance-ai/llguidance)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from lightbulb.core.errors import MissingExtra, UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Notation = Literal["json-schema", "regex", "lark"]


def parses(text: str) -> bool:
    """Whether `text` is whole JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Grammars:
    """Makes matchers for the tokens of one model.

    Args:
        tokenizer: the model's
        vocabulary: rows of its logits
        end: the token that ends a text

    Raises:
        MissingExtra: llguidance is not installed
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, end: int):
        try:
            import llguidance
        except ImportError as e:
            raise MissingExtra(
                "holding an answer to a schema needs llguidance", hint='pip install "lightbulb[grammar]"'
            ) from e
        self._library = llguidance
        self._tokens = llguidance.LLTokenizer(tokenizer.to_str(), n_vocab=vocabulary, eos_token=end)

    def matcher(self, notation: Notation, grammar: str) -> Matcher:
        """A matcher for one text.

        Args:
            notation: of the grammar
            grammar: what the text must follow

        Raises:
            UserError: a grammar that cannot be used
        """
        read = self._library.LLMatcher
        try:
            if notation == "json-schema":
                made = read.grammar_from_json_schema(grammar, defaults={"whitespace_flexible": False})
            else:
                made = read.grammar_from_regex(grammar) if notation == "regex" else read.grammar_from_lark(grammar)
        except ValueError as e:
            raise UserError(f"this is no {notation}: {e}") from e
        return Matcher(read(self._tokens, made, log_level=0))


class Matcher:
    """One text's place in a grammar: a `lightbulb_filament.Constraint`."""

    def __init__(self, matcher: Any):
        self._matcher = matcher
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise UserError(f"the grammar cannot be followed: {self._matcher.get_error().splitlines()[0]}")

    def allowed(self) -> bytes:
        """A bit for each token: whether it may come next."""
        mask = self._matcher.compute_bitmask()
        self._check()
        return mask

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()


def read_schema(text: str, where: str) -> str:
    """A JSON Schema, checked to be an object of JSON.

    Args:
        text: of the schema
        where: named in the error

    Raises:
        UserError: it is no such object
    """
    try:
        schema = json.loads(text)
    except ValueError as e:
        raise UserError(f"this is no JSON: {e}", where=where) from e
    if not isinstance(schema, dict):
        raise UserError("a JSON Schema is an object", where=where)
    return json.dumps(schema)

"""Phrases: runs of tokens that a task's answers keep repeating, each as one token, so that an answer is written in
fewer steps.

They are learned from the training answers by byte-pair encoding (Sennrich et al. 2016) with tokens as its letters. What
answers copy from their prompts is in no phrase: a token of its own would have to learn anew what its pieces know. A
phrase is an entry of the vocabulary that no merge leads to: prompts are cut into the same tokens as before, and a
runtime prints it as the text it stands for. Which entries are phrases, and of which pieces, stands in
tokenizer_config.json, so it travels with the model.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightbulb.core.files import read_json, write_json
from lightbulb.formats.gguf.tokenizer import is_sentencepiece, read_tokenizer_json
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.vocabulary import grow_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from lightbulb.tasks.task import Example, Task

KEY = "lightbulb_phrases"  # in tokenizer_config.json: the pieces of each, as the vocabulary writes them
LEARNED_FROM = 4000  # answers: more find the same phrases
LEAST = 16  # uses of a phrase among those answers, or its row learns little
LONGEST = 16  # tokens
COPIED = 0.25  # of a token's uses in answers with its text in the prompt: from this share on it is copied
FIRST_LETTER = 0x10000  # beyond it all characters are free to stand for tokens


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases of a tokenizer.

    Attributes:
        ids: the pieces of each to its token
    """

    ids: Mapping[tuple[int, ...], int]

    def shorten(self, tokens: Sequence[int]) -> list[int]:
        """`tokens` with phrases in the place of their pieces: from the left, the longest that fits."""
        longest = max(map(len, self.ids), default=1)
        out: list[int] = []
        at = 0
        while at < len(tokens):
            for size in range(min(longest, len(tokens) - at), 1, -1):
                phrase = self.ids.get(tuple(tokens[at : at + size]))
                if phrase is not None:
                    break
            else:
                phrase, size = tokens[at], 1
            out.append(phrase)
            at += size
        return out


def phrases_of(tokenizer: PreTrainedTokenizerFast) -> Phrases:
    """The phrases that a model's tokenizer holds; none in most."""
    noted: list[list[str]] = tokenizer.init_kwargs.get(KEY, [])
    vocab = tokenizer.get_vocab() if noted else {}
    # a trimmed vocabulary may lack a piece: then no text is cut into the phrase's pieces any more
    return Phrases(
        {tuple(vocab[p] for p in pieces): vocab["".join(pieces)] for pieces in noted if set(pieces) <= vocab.keys()}
    )


def learn_phrases(answers: Iterable[Sequence[int]], most: int) -> list[tuple[int, ...]]:
    """The runs of tokens worth a token of their own.

    Args:
        answers: token ids of each, or of the parts between what is copied
        most: phrases

    Returns:
        The pieces of each phrase, those first that byte-pair encoding joins first. Every one is used `LEAST` times and
        more where the answers are shortened by them.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    answers = list(answers)
    words = ["".join(chr(FIRST_LETTER + token) for token in tokens) for tokens in answers]
    letters = len(set().union(*words)) if words else 0
    tokenizer = Tokenizer(BPE())
    # without a pre-tokenizer every answer is one word
    trainer = BpeTrainer(vocab_size=letters + most, min_frequency=LEAST, max_token_length=LONGEST, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    joined = [text for text, _ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]) if len(text) > 1]
    found = [tuple(ord(letter) - FIRST_LETTER for letter in text) for text in joined]
    return _used(found, answers)


def _used(phrases: Sequence[tuple[int, ...]], answers: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Without those that longer ones have taken the place of."""
    numbered = numbers(phrases)
    uses = Counter(token for tokens in answers for token in numbered.shorten(tokens))
    return [pieces for pieces, number in numbered.ids.items() if uses[number] >= LEAST]


def numbers(phrases: Sequence[tuple[int, ...]]) -> Phrases:
    """Phrases that no tokenizer holds yet, under numbers that are no tokens."""
    return Phrases({pieces: -1 - n for n, pieces in enumerate(phrases)})


def phrases_for(task: Task, folder: Path, most: int) -> list[tuple[int, ...]]:
    """The phrases that a task's answers suggest for a model.

    None where the tokenizer is SentencePiece's: llama.cpp would join any two neighbours that spell an entry, in prompts
    as well. Without those that spell an entry of the vocabulary, hold a special token or what is copied from prompts.

    Args:
        task: with answers that are written, or none are found
        folder: of the model, with its tokenizer
        most: phrases

    Returns:
        The token ids of the pieces of each.
    """
    tokenizer = load_tokenizer(folder)
    if task.kind != "generate" or not most or is_sentencepiece(read_tokenizer_json(folder / "tokenizer.json")):
        return []
    examples = task.split("train", LEARNED_FROM)
    answers = token_ids(tokenizer, [e.completion for e in examples])
    apart = copied(tokenizer, [prompt_of(e) for e in examples], answers) | set(tokenizer.all_special_ids)
    known = tokenizer.get_vocab()
    found: dict[str, tuple[int, ...]] = {}
    for pieces in learn_phrases(between(answers, apart), most):
        found.setdefault("".join(tokenizer.convert_ids_to_tokens(list(pieces))), pieces)
    return [pieces for text, pieces in found.items() if text not in known]


def copied(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], answers: Sequence[Sequence[int]]) -> set[int]:
    """Tokens whose letters and digits stand in the prompt, in any case, in `COPIED` of the answers that use them."""
    used, there = Counter[int](), Counter[int]()
    words = {i: bare(str(tokenizer.decode([i]))) for tokens in answers for i in tokens}
    for prompt, tokens in zip(prompts, answers, strict=True):
        text = bare(prompt)
        used.update(seen := {i for i in tokens if words[i]})
        there.update(i for i in seen if words[i] in text)
    return {i for i, uses in used.items() if there[i] >= COPIED * uses}


def bare(text: str) -> str:
    """Its letters and digits, in lower case."""
    return "".join(filter(str.isalnum, text.lower()))


def between(answers: Iterable[Sequence[int]], apart: Set[int]) -> Iterator[list[int]]:
    """The runs of each answer without the tokens `apart`."""
    for tokens in answers:
        for out, run in itertools.groupby(tokens, apart.__contains__):
            if not out:
                yield list(run)


def prompt_of(example: Example) -> str:
    """All that is said before the answer."""
    return "\n".join([example.prompt, *(m.content for m in example.messages)])


def token_ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Of each text, without what a tokenizer adds."""
    return list(tokenizer(list(texts), add_special_tokens=False).input_ids) if texts else []


def add_phrases(folder_in: Path, folder_out: Path, model: PreTrainedModel, phrases: Sequence[tuple[int, ...]]) -> None:
    """Gives every phrase a token of its own; writes the tokenizer into `folder_out` and grows `model` in place. New
    rows of embedding and head are the mean over the pieces.

    Args:
        folder_in: of the model, with its tokenizer
        folder_out: for the new one
        model: grown in place
        phrases: as `phrases_for` finds them
    """
    pieces = [load_tokenizer(folder_in).convert_ids_to_tokens(list(phrase)) for phrase in phrases]
    entries = {"".join(texts): list(phrase) for texts, phrase in zip(pieces, phrases, strict=True)}
    grow_vocabulary(read_tokenizer_json(folder_in / "tokenizer.json"), folder_in, folder_out, model, entries)
    file = folder_out / "tokenizer_config.json"
    write_json(file, read_json(file) | {KEY: pieces})

"""A tokenizer of one's own: byte-level BPE, learned from text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lightbulb.core.files import write_json, write_text
from lightbulb.formats.gguf.pretokenizers import PRE_TOKENIZERS
from lightbulb.models.form import TEXT_TEMPLATE

END = "<|endoftext|>"  # stands before and behind each text
WORDS = "smollm"  # how text is cut into words


def train_tokenizer(texts: Iterable[str], entries: int, out: Path) -> int:
    """Learns a tokenizer and writes it into the folder `out`; the same texts give the same bytes.

    Args:
        texts: that it is to cut into few tokens
        entries: at most so many
        out: the folder

    Returns:
        How many entries it has.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    shell = json.loads(Tokenizer(models.BPE()).to_str()) | {"pre_tokenizer": PRE_TOKENIZERS[WORDS]}
    tokenizer = Tokenizer.from_str(json.dumps(shell))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        min_frequency=2,
        show_progress=False,
        special_tokens=[AddedToken(END, special=True, normalized=False)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    write_text(out / "tokenizer.json", tokenizer.to_str())
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEXT_TEMPLATE, **names}
    write_json(out / "tokenizer_config.json", config | {"clean_up_tokenization_spaces": False})
    return int(tokenizer.get_vocab_size())

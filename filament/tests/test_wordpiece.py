"""tests/check_wordpiece.cpp beside the library `tokenizers`: every code point, hostile text, real text."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from check_program import built, needs
from gguf import GGUFWriter
from samples import published
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

pytestmark = pytest.mark.slow

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
POSITIONS = 64
PLANES = (
    range(0xD800),
    range(0xE000, 0x32400),
    range(0xE0000, 0xE0200),
    range(0xF0000, 0xF0010),
    range(0x10FFF0, 0x110000),
)
POINTS = [c for plane in PLANES for c in plane]  # what lies between is not assigned, or private
BEGINS = 0x2581  # marks a piece that begins a word in a GGUF, so no piece that goes on can begin with it
DATA = ("banking77", "unfair_tos", "pubmedqa", "gsm8k")


def alphabet() -> list[str]:
    """Every character that is left of any code point, so that none hides behind [UNK]."""
    change = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    return sorted({c for p in POINTS for c in change.normalize_str(chr(p)).replace(" ", "")})


def words_of(texts: Sequence[str], count: int) -> list[str]:
    """The commonest words of some texts and halves of them, as pieces."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in text.lower().split():
            if word.isascii() and word.isalpha():
                counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda w: (-counts[w], w))[:count]
    return [*words, *(w[: len(w) // 2] for w in words), *(f"##{w[len(w) // 2 :]}" for w in words)]


class Both:
    """The same vocabulary in both tokenizers."""

    def __init__(self, folder: Path, pieces: Sequence[str], positions: int = POSITIONS):
        self.positions = positions
        self.pieces = list(dict.fromkeys([*SPECIAL, *(p for p in pieces if p.removeprefix("##"))]))
        self.file = folder / "m.gguf"
        self.write()
        numbers = {piece: i for i, piece in enumerate(self.pieces)}
        model = models.WordPiece(vocab=numbers, unk_token="[UNK]", max_input_chars_per_word=100)
        self.theirs = Tokenizer(model)
        self.theirs.normalizer = normalizers.BertNormalizer(lowercase=True)
        self.theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def write(self) -> None:
        writer = GGUFWriter(self.file, "bert")
        writer.add_context_length(self.positions)
        writer.add_tokenizer_model("bert")
        named = [p.removeprefix("##") if p.startswith("##") and p != "##" else f"\u2581{p}" for p in self.pieces]
        writer.add_token_list([*SPECIAL, *named[len(SPECIAL) :]])
        writer.add_token_types([3, 2, 3, 3, 3] + [1] * (len(named) - len(SPECIAL)))
        for role, name in (("cls", "[CLS]"), ("seperator", "[SEP]"), ("unknown", "[UNK]")):
            writer.add_uint32(f"tokenizer.ggml.{role}_token_id", SPECIAL.index(name))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()

    def ours(self, texts: Sequence[bytes]) -> list[list[int]]:
        lines = "".join(text.hex() + "\n" for text in texts)
        run = subprocess.run(
            [built("check_wordpiece", "plain"), self.file], input=lines, capture_output=True, text=True, check=True
        )
        return [[int(t) for t in line.split()] for line in run.stdout.splitlines()]

    def check(self, texts: Sequence[str]) -> None:
        cut = self.theirs.encode_batch_fast(list(texts), add_special_tokens=False)
        wanted = [[2, *encoding.ids[: self.positions - 2], 3] for encoding in cut]
        ours = self.ours([text.encode() for text in texts])
        assert len(ours) == len(wanted)
        wrong = [(t, o, w) for t, o, w in zip(texts, ours, wanted, strict=True) if o != w]
        assert not wrong, wrong[:5]


@pytest.fixture(scope="module")
def every_character(tmp_path_factory) -> Both:
    needs("cmake", "c++")
    letters = alphabet()
    return Both(tmp_path_factory.mktemp("every"), [*letters, *(f"##{c}" for c in letters)])


def test_every_code_point_by_itself_and_within_a_word(every_character):
    every_character.check([f"x{chr(p)}y {chr(p)}" for p in POINTS if p != BEGINS])


def test_hostile_text(every_character):
    rng = random.Random(0)
    blocks = [range(0x80), range(0x250), range(0x300, 0x530), range(0x2000, 0x2070), range(0xAC00, 0xD7B0), POINTS]
    texts = ["".join(chr(rng.choice(rng.choice(blocks))) for _ in range(rng.randrange(60))) for _ in range(3000)]
    texts += ["a" * n for n in (99, 100, 101, 1000)] + [
        "\u00e9" * 100,
        "e\u0301" * 101,
        "\ud55c" * 40,
        "[CLS] [SEP] [UNK]",
    ]
    texts += [
        "",
        " ",
        "\0",
        "\u200b",
        "a\u00adb",
        "don't stop",
        "##a",
        "\u2581a",
        "1,000.50$",
        "\uff21\uff22",
        "\u212b\u0130",
    ]
    every_character.check(texts)


def test_bytes_that_are_no_utf_8_are_left_out(every_character):
    """Each becomes U+FFFD, which is dropped."""
    pairs = [
        (b"a\xffb", "ab"),
        (b"\xc3", ""),
        (b"a\xe2\x82 b", "a b"),
        (b"\xed\xa0\x80x", "x"),
        (b"\xf5\x80\x80\x80", ""),
    ]
    ours = every_character.ours([broken for broken, _ in pairs])
    assert ours == every_character.ours([whole.encode() for _, whole in pairs])


@pytest.mark.parametrize("name", DATA)
def test_real_text(tmp_path, name):
    needs("cmake", "c++")
    folder = published(name)
    texts = [json.loads(line)["prompt"] for file in sorted(folder.glob("*.jsonl")) for line in file.open()]
    texts = [text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in texts]
    assert len(texts) > 10
    pieces = [*map(chr, range(33, 127)), *(f"##{chr(c)}" for c in range(33, 127)), *words_of(texts, 3000)]
    Both(tmp_path, pieces, positions=512).check(texts)

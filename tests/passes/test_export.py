from __future__ import annotations

from llama_server import llama_server
from test_trim_vocab import ANSWERS, CHOOSE, GENERATE, formatted, trimmed

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.loading import load_tokenizer
from lightbulb.passes.base import Context
from lightbulb.passes.export import Export


def exported(source, tmp_path, task, **parameters):
    out = tmp_path / "exported"
    out.mkdir()
    facts = Export(**parameters).apply(source, out, Context(task, 0, Silent(), tmp_path))
    return out / "model.gguf", facts


def test_the_file_says_what_it_answers(tmp_path):
    source, out, facts = trimmed(tmp_path, CHOOSE)
    source = Artifact(path=out, kind="model", key="t", made_by="trim-vocab", facts=facts)
    gguf, facts = exported(source, tmp_path, CHOOSE, quant_type="q4_0", embedding="q8_0")
    assert read_gguf(gguf).metadata == {
        "lightbulb.kind": "choose",
        "lightbulb.answers": list(ANSWERS),
        "lightbulb.answer_ids": source.facts["answer_ids"],
    }
    assert facts["answer_ids"] == source.facts["answer_ids"] and facts["architecture"] == "llama"
    assert facts["bytes"] == gguf.stat().st_size and 4.5 < facts["bits_per_weight"] < 10
    with llama_server(gguf) as server:
        for index, answer in zip(facts["answer_ids"], ANSWERS, strict=True):
            reply = server.post("/completion", prompt="Turn", n_predict=1, logit_bias=[[index, 1e4]], temperature=0)
            assert reply["content"] == answer
        text = "Turn the kitchen lights off"
        assert server.tokenize(text) == load_tokenizer(out)(text).input_ids


def test_a_generate_task_has_no_answers(tmp_path):
    gguf, facts = exported(formatted(tmp_path, GENERATE), tmp_path, GENERATE, quant_type="f16")
    assert read_gguf(gguf).metadata == {"lightbulb.kind": "generate"}
    assert "answer_ids" not in facts

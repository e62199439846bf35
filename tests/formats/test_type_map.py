"""Types by role: what each tensor gets, and how large llama.cpp's mixtures are."""

from __future__ import annotations

import pytest

from lightbulb.formats.gguf.type_map import LLAMA_3_8B, MIXTURES, TypeMap, bits_by_name, role_of

# Bits per weight of Llama 3.1 8B (llama.cpp, tools/quantize/README.md)
PUBLISHED = {"q2_k": 3.1593, "q3_k_s": 3.6429, "q3_k_m": 3.9960, "q3_k_l": 4.2979, "q4_k_s": 4.6672, "q4_k_m": 4.8944,
             "q5_k_s": 5.5704, "q5_k_m": 5.7036}  # fmt: skip


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_are_as_large_as_llama_cpp_says(name):
    assert MIXTURES[name].bits_per_weight(LLAMA_3_8B) == pytest.approx(PUBLISHED[name], rel=0.0005)


@pytest.mark.parametrize(
    "tensor, role",
    [
        ("token_embd.weight", "embedding"),
        ("output.weight", "head"),
        ("blk.0.attn_q.weight", "attention.q"),
        ("blk.11.attn_output.weight", "attention.output"),
        ("blk.3.ffn_down.weight", "feed_forward.down"),
        ("blk.3.ffn_down_exps.weight", "feed_forward.down"),
        ("blk.3.ffn_gate_inp.weight", "other"),
        ("position_embd.weight", "other"),
    ],
)
def test_roles(tensor, role):
    assert role_of(tensor) == role


def test_the_nearest_name_decides():
    types = TypeMap("q4_0", {"attention": "q8_0", "attention.v": "f16", "embedding": "q6_k"})
    chosen = {role: types.type_of(role).name for role in ("attention.q", "attention.v", "feed_forward.up", "head")}
    assert chosen == {"attention.q": "q8_0", "attention.v": "f16", "feed_forward.up": "q4_0", "head": "q4_0"}
    assert types.type_for("blk.0.attn_norm.weight", (64,)).name == "f32"
    assert types.type_for("token_embd.weight", (10, 64)).name == "q8_0"  # 64 is no whole block of q6_k
    assert types.type_for("token_embd.weight", (10, 48)).name == "f16"
    assert types.file_type == 2 and TypeMap.of("q4_0", "q8_0").type_of("head").name == "q8_0"


def test_the_mean_is_over_weights():
    types = TypeMap("f16", {"head": "q8_0"})
    assert types.bits_per_weight({"head": 3.0, "attention.q": 1.0}) == pytest.approx((3 * 8.5 + 16) / 4)


def test_names_that_are_none():
    with pytest.raises(ValueError, match="no tensor has the role 'heads'"):
        TypeMap("q4_0", {"heads": "q8_0"})
    with pytest.raises(ValueError, match="there is no quant type 'q9_0'"):
        TypeMap("q4_0", {"head": "q9_0"})
    with pytest.raises(ValueError, match="cannot be written as q5_k"):
        TypeMap("q4_0", {"head": "q5_k"}).check_writable()


def test_bits_of_types_and_mixtures_by_name():
    named = bits_by_name()
    assert named["q4_0"] == named["q4_k"] == 4.5 and named["bf16"] == 16 and named["tq2_0"] == 2.0625
    assert 4.5 < named["q4_k_m"] < PUBLISHED["q4_k_m"] and not {"i8", "f64"} & named.keys()

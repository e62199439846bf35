"""What a config.json says of a model: counts as the model cards have them, bytes as the hub's files have them."""

from __future__ import annotations

import json

import pytest

from lightbulb.core.errors import ModelError
from lightbulb.predicting.configs import from_config
from lightbulb.predicting.request import predict
from lightbulb.predicting.setting import Setting
from lightbulb.predicting.step_cost import decode_work, prefill_work

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
MIXTRAL = LLAMA | {"model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
QWEN3_MOE = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
    "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "tie_word_embeddings": False, "use_sliding_window": False, "sliding_window": None,
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 3,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "tie_word_embeddings": False,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
}  # fmt: skip
GEMMA3 = {
    "model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
    "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4,
    "head_dim": 256, "vocab_size": 262208, "sliding_window": 1024},
    "vision_config": {"hidden_size": 1152}, "torch_dtype": "bfloat16",
}  # fmt: skip

QWEN3_NEXT = {
    "model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "moe_intermediate_size": 512,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 151936,
    "num_experts": 512, "num_experts_per_tok": 10, "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1,
    "full_attention_interval": 4, "linear_num_value_heads": 32, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "tie_word_embeddings": False,
}  # fmt: skip
GRANITE_H = {
    "model_type": "granitemoehybrid", "hidden_size": 1536, "intermediate_size": 512, "shared_intermediate_size": 1024,
    "num_hidden_layers": 40, "num_attention_heads": 12, "num_key_value_heads": 4, "vocab_size": 100352,
    "num_local_experts": 64, "num_experts_per_tok": 6, "mamba_n_heads": 48, "mamba_d_head": 64, "mamba_d_state": 128,
    "mamba_n_groups": 1, "mamba_d_conv": 4, "tie_word_embeddings": True,
    "layer_types": (["mamba"] * 9 + ["attention"]) * 4,
}  # fmt: skip
LFM2 = {
    "model_type": "lfm2", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "block_ff_dim": 12288, "block_auto_adjust_ff_dim": True, "block_multiple_of": 256,
    "intermediate_size": 12288, "full_attn_idxs": [2, 5, 8, 10, 12, 14], "vocab_size": 65536, "conv_L_cache": 3,
    "tie_word_embeddings": True,
}  # fmt: skip


def quantized(**config) -> dict:
    return LLAMA | {"quantization_config": config}


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (LLAMA, 8.03, 8.03),
        (MIXTRAL, 46.7, 12.9),
        (QWEN3_MOE, 30.5, 3.35 - 0.31),
        (DEEPSEEK_V3, 671.0, 37.5),
        (GPT_OSS, 20.9, 3.6),
        (GEMMA3, 3.88, 3.88),
        (QWEN3_NEXT, 79.7, 3.9 - 0.31),
        (GRANITE_H, 6.94, 1.46),
        (LFM2, 1.17, 1.17),
    ],
)
def test_counts_are_those_of_the_model_cards(config, total, active):
    """Billions. Qwen's card counts the embedding of the input, of which a token reads one row, as active."""
    shape = from_config(config, "config.json")
    assert shape.parameters / 1e9 == pytest.approx(total, rel=0.015)
    assert shape.weights_per_token / 1e9 == pytest.approx(active, rel=0.08)


@pytest.mark.parametrize(
    ("config", "gigabytes"),
    [  # sizes of the safetensors that these configurations come with
        (LLAMA, 16.06),
        (LLAMA | {"torch_dtype": "float32"}, 32.12),
        (LLAMA | {"torch_dtype": None, "dtype": "float16"}, 16.06),
        (quantized(quant_method="awq", bits=4, group_size=128, zero_point=True), 5.73),
        (quantized(quant_method="gptq", bits=4, group_size=128, desc_act=False), 5.73),
        (quantized(load_in_4bit=True, bnb_4bit_quant_type="nf4", quant_method="bitsandbytes"), 6.03),
        (quantized(load_in_8bit=True, quant_method="bitsandbytes"), 9.08),
        (quantized(quant_method="compressed-tensors", ignore=["lm_head"], config_groups={"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}), 9.08),
        (quantized(quant_method="modelopt", quant_algo="NVFP4", exclude_modules=["lm_head"]), 6.03),
        (GPT_OSS, 13.8),
        (DEEPSEEK_V3, 671 + 1.85),
    ],
)  # fmt: skip
def test_bytes_are_those_of_published_files(config, gigabytes):
    assert from_config(config, "config.json").bytes_stored / 1e9 == pytest.approx(gigabytes, rel=0.015)


GROUP_INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "gptq", "bits": 3, "group_size": -1}, 3),
        ({"bits": 8, "group_size": 32, "desc_act": True}, 8 + 24 / 32),
        ({"quant_method": "auto-round", "bits": 2, "group_size": 32, "sym": False}, 2 + 18 / 32),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, 4 + 8 / 64 + 32 / 16384),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 16384),
        ({"quant_method": "fbgemm_fp8"}, 8),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": GROUP_INT4}}}, 4.125),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}, 4.5),
        ({"quant_method": "quanto", "weights": "int8"}, 8),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 64}}, 4.5),
        ({"quant_method": "torchao", "quant_type": {"default": {
            "_type": "Int8DynamicActivationInt4WeightConfig", "_data": {"group_size": 32}}}}, 5),
        ({"quant_method": "torchao", "quant_type": "float8_weight_only"}, 8),
        ({"quant_method": "eetq"}, 8),
        ({"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 1, "nbits_per_codebook": 16}, 2),
        ({"quant_method": "bitnet"}, 2),
    ],
)  # fmt: skip
def test_bits_a_weight_with_their_scales(config, bits):
    shape = from_config(quantized(**config), "config.json")
    assert shape.bits == pytest.approx(bits, abs=0.01) and shape.head_bits == 16  # norms stay in 16 bits
    assert f"{bits:.4g} bits" in shape.stored


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (quantized(quant_method="vptq"), "'vptq'"),
        (quantized(bits=4), "of no name"),
        (quantized(quant_method="gptq", group_size=128), "w_bit"),
        (quantized(quant_method="gptq", bits=4, dynamic={"re:x": {"bits": 8}}), "other bits in some"),
        (quantized(quant_method="gptq", bits="four"), "gptq"),
        (quantized(quant_method="gptq", bits=0, w_bit=0), "0 bits"),
        (quantized(quant_method="bitsandbytes"), "load_in_4bit"),
        (quantized(quant_method="compressed-tensors"), "0 kinds of weights"),
        (quantized(quant_method="compressed-tensors", sparsity_config={"format": "sparse-24-bitmask"}), "sparse-24"),
        (quantized(quant_method="modelopt", quant_algo="MIXED_PRECISION"), "MIXED_PRECISION"),
        (quantized(quant_method="torchao", quant_type="autoquant"), "autoquant"),
        (LLAMA | {"quantization_config": "awq"}, "'awq'"),
        (LLAMA | {"torch_dtype": "float4"}, "float4"),
        (LLAMA | {"num_experts": 8}, "8 experts"),
        (LLAMA | {"model_type": "falcon_mamba"}, "falcon_mamba"),
        (LLAMA | {"model_type": "new", "mamba_d_state": 16}, "mamba_d_state"),
        (LLAMA | {"layer_types": ["full_attention"] * 3}, "3 layer_types of 32"),
        (LLAMA | {"layer_types": ["linear_attention", "full_attention"] * 16}, "linear_key_head_dim"),
        (LLAMA | {"layer_types": ["retention", "full_attention"] * 16}, "retention"),
        (LLAMA | {"is_encoder_decoder": True}, "no decoder"),
        (LLAMA | {"architectures": ["BertForMaskedLM"]}, "no decoder"),
        (LLAMA | {"num_key_value_heads": 5}, "5 of keys"),
        (LLAMA | {"hidden_size": "wide"}, "shape"),
    ],
)
def test_what_is_not_known_is_refused_by_name(config, named):
    with pytest.raises(ModelError, match=named) as e:
        from_config(config, "there/config.json")
    assert e.value.where == "there/config.json" and e.value.hint


def test_bits_that_are_given_need_no_word_of_the_configuration(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(quantized(quant_method="vptq")))
    with pytest.raises(ModelError, match="`bits=4.25`"):
        predict(str(file), "h200")
    assert predict(str(file), "h200", bits=4.25).joules_per_output_token.value > 0


def test_modules_that_are_left_alone_keep_their_bits():
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}
    bits = [
        from_config(quantized(**awq, modules_to_not_convert=names), "c").bits
        for names in ([], ["model.layers.0"], ["re:.*self_attn.*"], ["self_attn"], ["model.layers.*.mlp*"], ["mlp"])
    ]
    assert bits[0] < bits[1] < bits[2] == bits[3] < bits[4] == bits[5] < 16
    assert bits[1] == pytest.approx((31 * bits[0] + 16) / 32, rel=1e-3)


def test_awq_costs_a_third_and_says_why():
    plain, awq = LLAMA, quantized(quant_method="awq", bits=4, group_size=128)
    shapes = [from_config(c, "c") for c in (plain, awq)]
    assert shapes[0].bytes_read / shapes[1].bytes_read == pytest.approx(3.2, rel=0.02)


def test_more_tokens_meet_more_experts():
    shape = from_config(MIXTRAL, "c")
    dense = shape.layers * (shape.layer_parameters - shape.routed_parameters) * 2 + 32000 * 4096 * 2
    for batch, share in ((1, 0.25), (2, 1 - 0.75**2), (64, 1.0)):
        expected = dense + 32 * shape.routed_parameters * 2 * share
        assert decode_work(shape, Setting(batch)).weight_bytes == pytest.approx(expected, rel=1e-6)
    operations = decode_work(shape, Setting(1, context=1)).operations
    assert operations == pytest.approx(2 * shape.weights_per_token, rel=0.01)
    assert prefill_work(shape, Setting(1, 2048)).weight_bytes == pytest.approx(32 * shape.layer_parameters * 2)


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        (LLAMA, 10_000),
        (LLAMA | {"model_type": "mistral", "sliding_window": 4096}, 4096),
        (LLAMA | {"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, 10_000),
        (LLAMA | {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 16}, (4096 + 10_000) / 2),
        (LLAMA | {"sliding_window": 1000, "layer_types": ["sliding_attention"] * 24 + ["full_attention"] * 8}, 3250),
        (GEMMA3, 1024 + (10_000 - 1024) / 6),
        (GPT_OSS, (128 + 10_000) / 2),
    ],
)
def test_windows_end_what_a_token_sees(config, seen):
    shape = from_config(config, "c")
    assert shape.tokens_seen(10_000) == pytest.approx(seen)
    work = decode_work(shape, Setting(1, 10_000))
    assert work.kv_bytes == pytest.approx(seen * 4 * shape.layers * shape.kv_width)
    brute = sum(shape.tokens_seen(n) for n in range(1, 3001)) / 3000
    assert shape.mean_tokens_seen(3000) == pytest.approx(brute, rel=0.01)


def test_layers_that_are_no_attention_keep_a_state_instead_of_keys():
    """Numbers of a sequence by the papers: heads x key x value of a delta rule, heads x head x state of Mamba 2."""
    for config, attending, state in (
        (QWEN3_NEXT, 12, 36 * (32 * 128 * 128 + 4 * (2 * 16 * 128 + 32 * 128))),
        (GRANITE_H, 4, 36 * (48 * 64 * 128 + 4 * (48 * 64 + 2 * 128))),
        (LFM2, 6, 10 * 3 * 2048),
    ):
        shape = from_config(config, "c")
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        assert shape.kv_bytes_per_token == pytest.approx(attending * 4 * config["num_key_value_heads"] * head)
        assert shape.state_bytes == 4 * state
        short, long = (decode_work(shape, Setting(8, n)).kv_bytes for n in (1, 1001))
        assert short == pytest.approx(8 * (2 * shape.state_bytes + shape.kv_bytes_per_token))
        assert long - short == pytest.approx(8 * 1000 * shape.kv_bytes_per_token)


def test_latent_keys_and_8_bit_keys_are_small():
    latent = from_config(DEEPSEEK_V3, "c")
    assert latent.kv_bytes_per_token == 61 * (512 + 64) * 2  # arXiv:2412.19437
    scheme = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": GROUP_INT4}}}
    half, eight = (from_config(quantized(**scheme, kv_cache_scheme=s), "c") for s in (None, {"num_bits": 8}))
    assert eight.kv_bytes_per_token * 2 == half.kv_bytes_per_token

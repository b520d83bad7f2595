#!/usr/bin/env python3
"""The tiny models: one entry of MODELS for each variant of a family, with the config.json as transformers writes it (old and new
style), and the changes that switch its features off. Shapes are odd on purpose: 1, 3 and 5 KV heads, vocabularies that fill no
panel, intermediate sizes that are no multiple of 32, windows and original contexts shorter than the prompts.

    tests/golden/families/models.py FOLDER     writes every model to FOLDER/NAME

A feature is {"name", "config": keys of config.json that change, "remove": keys that go, "drop": tensors left out, "neutral": biases
made 0 and norms made 1}."""

import os
import sys

import folder

MODELS = []
BASE = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257, "initializer_range": 0.02, "attention_dropout": 0.0, "use_cache": True}
ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "smollm3": "SmolLM3ForCausalLM", "qwen2": "Qwen2ForCausalLM",
                 "qwen3": "Qwen3ForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM", "phi3": "Phi3ForCausalLM",
                 "granite": "GraniteForCausalLM", "olmo2": "Olmo2ForCausalLM", "mixtral": "MixtralForCausalLM",
                 "qwen3_moe": "Qwen3MoeForCausalLM"}
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def shape(layers, hidden, heads, kv, intermediate, vocab, head_dim=None):
    result = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv,
              "intermediate_size": intermediate, "vocab_size": vocab, "max_position_embeddings": 256}
    return {**result, "head_dim": head_dim} if head_dim else result


def off(name, config=None, remove=(), drop=(), neutral=()):
    return {"name": name, "config": config or {}, "remove": list(remove), "drop": list(drop), "neutral": list(neutral)}


def add(name, model_type, dims, config, features, dtype="BF16", vector_dtype=None, other_dtypes=None, shards=1, shuffled=False,
        new_style=False, tied=False, prompts=(1, 20, 75, 110)):
    """new_style: "dtype" instead of "torch_dtype" (and rope_parameters, which stand in `config`). prompts: their lengths."""
    activation = "hidden_activation" if model_type.startswith("gemma") else "hidden_act"
    whole = {"architectures": [ARCHITECTURES[model_type]], "model_type": model_type, **BASE, **dims,
             activation: "gelu_pytorch_tanh" if model_type.startswith("gemma") else "silu", "rms_norm_eps": 1e-5,
             "tie_word_embeddings": tied, "dtype" if new_style else "torch_dtype": TORCH_NAMES[dtype],
             "transformers_version": "5.2.0" if new_style else "4.46.1", **config}
    MODELS.append({"name": name, "config": whole, "features": features, "dtype": dtype, "vector_dtype": vector_dtype or dtype,
                   "other_dtypes": other_dtypes or {}, "shards": shards, "shuffled": shuffled, "prompts": list(prompts)})


def llamas():
    add("llama2", "llama", shape(3, 72, 9, 9, 100, 263), dict(rope_theta=10000.0, rope_scaling=None, pretraining_tp=1, rms_norm_eps=0.02),
        [off("rope_theta", {"rope_theta": 500000.0}), off("rms_norm_eps", {"rms_norm_eps": 1e-6}),
         off("untied head", {"tie_word_embeddings": True}, drop=["lm_head.weight"]), off("norm weights", neutral=["*norm.weight"])], dtype="F16")
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    add("llama31", "llama", shape(4, 80, 10, 5, 118, 301, head_dim=12), dict(rope_theta=10000.0, rope_scaling=llama3),
        [off("llama3 rope scaling", {"rope_scaling": None}),
         off("the middle band of llama3", {"rope_scaling": {**llama3, "low_freq_factor": 3.9}})], tied=True)
    add("llama32", "llama", shape(3, 96, 6, 3, 90, 271), dict(rope_parameters={**llama3, "rope_theta": 500000.0, "factor": 32.0}),
        [off("llama3 rope scaling", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}})], new_style=True, shards=2)
    add("llama-linear", "llama", shape(3, 80, 5, 1, 110, 283), dict(rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 2.5}),
        [off("linear rope scaling", {"rope_scaling": None})], dtype="F32", shuffled=True)
    add("llama-bias", "llama", shape(3, 72, 6, 3, 77, 289), dict(rope_theta=10000.0, attention_bias=True, mlp_bias=True),
        [off("attention_bias", {"attention_bias": False}, drop=["*.self_attn.*.bias"]), off("mlp_bias", {"mlp_bias": False}, drop=["*.mlp.*.bias"]),
         off("the bias of o", neutral=["*.o_proj.bias"]), off("the bias of down", neutral=["*.down_proj.bias"])], dtype="F16", vector_dtype="F32")
    add("smollm2", "llama", shape(5, 72, 9, 3, 100, 259),
        dict(rope_theta=100000, rope_scaling=None, rope_interleaved=False, is_llama_config=True, pretraining_tp=1, attention_bias=False, mlp_bias=False),
        [off("rope_theta", {"rope_theta": 10000})], tied=True)


def yarns():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    add("llama-yarn", "llama", shape(3, 96, 6, 2, 100, 277), dict(rope_theta=10000.0, rope_scaling=yarn),
        [off("yarn", {"rope_scaling": None}), off("attention factor of yarn", {"rope_scaling": {**yarn, "attention_factor": 1.0}}),
         off("beta_slow of yarn", {"rope_scaling": {**yarn, "beta_slow": 0.25}})], shuffled=True)
    given = {**yarn, "rope_theta": 20000.0, "attention_factor": 0.75, "beta_fast": 2.0, "beta_slow": 0.5, "truncate": False}
    add("llama-yarn-given", "llama", shape(3, 80, 5, 5, 70, 293), dict(rope_parameters=given),
        [off(f"{key} of yarn", {"rope_parameters": {k: v for k, v in given.items() if k != key}})
         for key in ("attention_factor", "beta_fast", "beta_slow", "truncate")], new_style=True, dtype="F16")
    mscale = {**yarn, "rope_theta": 10000.0, "mscale": 2.0, "mscale_all_dim": 0.5}
    add("mistral-yarn-mscale", "mistral", shape(3, 72, 6, 1, 84, 307, head_dim=16), dict(rope_parameters=mscale, sliding_window=None),
        [off("mscale of yarn", {"rope_parameters": {k: v for k, v in mscale.items() if not k.startswith("mscale")}})], new_style=True)


def windows_and_biases():
    add("mistral", "mistral", shape(4, 96, 6, 3, 110, 269, head_dim=20), dict(rope_theta=10000.0, sliding_window=24),
        [off("sliding_window", {"sliding_window": None}), off("the window's last position", {"sliding_window": 23})], shards=3, shuffled=True)
    add("smollm3", "smollm3", shape(7, 80, 5, 1, 70, 281),
        dict(rope_theta=50000.0, rope_scaling=None, no_rope_layers=[1, 1, 1, 0, 1, 1, 0], no_rope_layer_interval=4, use_sliding_window=False,
             sliding_window=None, layer_types=["full_attention"] * 7, attention_bias=False, mlp_bias=False, pretraining_tp=2),
        [off("layers without RoPE", {"no_rope_layers": [1] * 7})], tied=True)
    add("smollm3-interval", "smollm3", shape(4, 72, 6, 2, 90, 287),
        dict(rope_parameters={"rope_type": "default", "rope_theta": 20000.0}, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=20),
        [off("no_rope_layer_interval", {"no_rope_layer_interval": 5}), off("window", {"use_sliding_window": False})], new_style=True, dtype="F16")
    qwen = dict(rope_theta=1000000.0, use_sliding_window=False, sliding_window=32768, max_window_layers=3)
    windows = ["use_sliding_window", "sliding_window", "max_window_layers"]
    as_llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    add("qwen2", "qwen2", shape(3, 96, 6, 1, 100, 320), qwen,
        [off("biases", as_llama, windows, drop=["*.bias"]), *[off(f"the bias of {p}", neutral=[f"*.{p}_proj.bias"]) for p in "qkv"]], shuffled=True)
    window = dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, use_sliding_window=True, sliding_window=18, max_window_layers=2)
    add("qwen2-window", "qwen2", shape(5, 72, 9, 3, 77, 303), window,
        [off("use_sliding_window", {"use_sliding_window": False}), off("max_window_layers", {"max_window_layers": 0})],
        new_style=True, tied=True, vector_dtype="F32")
    as_mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    add("qwen3", "qwen3", shape(4, 80, 10, 5, 90, 311, head_dim=20), {**qwen, "attention_bias": False, "sliding_window": None},
        [off("QK norm", as_mistral, [*windows, "attention_bias"], drop=["*.q_norm.weight", "*.k_norm.weight"]), off("weights of the q norm", neutral=["*.q_norm.weight"]),
         off("weights of the k norm", neutral=["*.k_norm.weight"])], other_dtypes={"*embed_tokens*": "F32", "*down_proj*": "F16"})


def gemmas():
    add("gemma2", "gemma2", shape(4, 96, 6, 3, 100, 305, head_dim=20),
        dict(rope_theta=10000.0, hidden_act="gelu_pytorch_tanh", sliding_window=16, query_pre_attn_scalar=9, attn_logit_softcapping=3.0,
             final_logit_softcapping=5.0, cache_implementation="hybrid", rms_norm_eps=1e-6),
        [off("attn_logit_softcapping", {"attn_logit_softcapping": None}), off("final_logit_softcapping", {"final_logit_softcapping": None}),
         off("sliding_window", {"sliding_window": 4096}), off("query_pre_attn_scalar", {"query_pre_attn_scalar": 20}),
         *[off(f"weights of {n}", neutral=[f"*.{n}.weight"])
           for n in ("post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")]], tied=True)
    add("gemma3", "gemma3_text", shape(7, 80, 5, 1, 70, 313, head_dim=16),
        dict(rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling=None, sliding_window=21, sliding_window_pattern=3,
             query_pre_attn_scalar=10, attn_logit_softcapping=None, final_logit_softcapping=None, rms_norm_eps=1e-6),
        [off("rope_local_base_freq", {"rope_local_base_freq": 1000000.0}), off("sliding_window", {"sliding_window": 4096}),
         off("sliding_window_pattern", {"sliding_window_pattern": 6}), off("query_pre_attn_scalar", {"query_pre_attn_scalar": 16}),
         off("weights of the q and k norms", neutral=["*.q_norm.weight", "*.k_norm.weight"])], tied=True)
    linear = {"rope_type": "linear", "factor": 8.0}
    old = dict(rope_theta=10000.0, rope_local_base_freq=1000.0, rope_scaling=linear, sliding_window=30, sliding_window_pattern=2,
               query_pre_attn_scalar=24, rms_norm_eps=1e-6)
    add("gemma3-linear", "gemma3_text", shape(4, 72, 4, 2, 90, 275, head_dim=24), old, [off("rope_scaling", {"rope_scaling": None})],
        dtype="F16", tied=True, shards=2)
    types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention", "sliding_attention"]
    nested = {"full_attention": {**linear, "factor": 4.0, "rope_theta": 10000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}
    add("gemma3-new", "gemma3_text", shape(5, 72, 6, 3, 84, 299, head_dim=12),
        dict(rope_parameters=nested, layer_types=types, sliding_window=19, query_pre_attn_scalar=12, rms_norm_eps=1e-6, use_bidirectional_attention=False),
        [off("rope of full layers", {"rope_parameters": {**nested, "full_attention": nested["sliding_attention"]}}),
         off("layer_types", {"layer_types": ["sliding_attention"] * 5})], new_style=True, tied=True)


def phis_and_granite():
    add("phi3", "phi3", shape(3, 96, 4, 2, 100, 291),
        dict(rope_theta=10000.0, rope_scaling=None, sliding_window=31, original_max_position_embeddings=256, resid_pdrop=0.0, embd_pdrop=0.0),
        [off("sliding_window", {"sliding_window": None})])
    def longrope(pairs):
        return {"type": "longrope", "short_factor": [1.0 + 0.05 * i for i in range(pairs)], "long_factor": [1.1 + 0.6 * i for i in range(pairs)]}
    prompts, long = (1, 20, 45, 75, 110), longrope(8)
    add("phi3-longrope", "phi3", shape(3, 80, 5, 5, 90, 309), dict(rope_theta=10000.0, rope_scaling=long, original_max_position_embeddings=64),
        [off("longrope", {"rope_scaling": None}), off("the long factors", {"rope_scaling": {**long, "long_factor": long["short_factor"]}}),
         off("the short factors", {"rope_scaling": {**long, "short_factor": long["long_factor"]}}),
         off("attention factor of longrope", {"max_position_embeddings": 128})], dtype="F16", prompts=prompts)
    part = longrope(9)
    add("phi4-mini", "phi3", shape(4, 96, 4, 1, 70, 297),
        dict(rope_theta=10000.0, rope_scaling=part, partial_rotary_factor=0.75, original_max_position_embeddings=64, attention_bias=False,
             mlp_bias=False, full_attn_mod=1, interpolate_factor=1, lm_head_bias=False),
        [off("partial_rotary_factor", {"partial_rotary_factor": 1.0, "rope_scaling": longrope(12)}),
         off("longrope", {"rope_scaling": None})], tied=True, prompts=prompts)
    add("phi3-partial", "phi3", shape(3, 72, 6, 3, 77, 265),
        dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}, sliding_window=None),
        [off("partial_rotary_factor", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}})],
        new_style=True, shuffled=True)
    add("granite", "granite", shape(4, 72, 6, 3, 110, 315),
        dict(rope_theta=10000.0, rope_scaling=None, embedding_multiplier=6.0, attention_multiplier=0.45, residual_multiplier=0.4, logits_scaling=1.5,
             attention_bias=False, mlp_bias=False),
        [*[off(key, {key: 1.0}) for key in ("embedding_multiplier", "residual_multiplier", "logits_scaling")],
         off("attention_multiplier", {"attention_multiplier": 12 ** -0.5})], tied=True)


def post_norms_and_experts():
    add("olmo2", "olmo2", shape(4, 72, 9, 3, 100, 317), dict(rope_theta=500000, rope_scaling=None, attention_bias=False, rms_norm_eps=1e-6),
        [off(f"weights of {n}", neutral=[f"*.{n}.weight"]) for n in ("q_norm", "k_norm", "post_attention_layernorm", "post_feedforward_layernorm")],
        dtype="F32", shards=2)
    add("olmo2-new", "olmo2", shape(3, 80, 5, 5, 77, 267), dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attention_bias=False),
        [off("rope_theta", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}})], new_style=True)
    mixtral = dict(rope_theta=1000000.0, num_experts_per_tok=2, output_router_logits=False, router_aux_loss_coef=0.02, sliding_window=None)
    add("mixtral", "mixtral", shape(3, 64, 8, 2, 44, 295), {**mixtral, "num_local_experts": 8},
        [off("the second expert", {"num_experts_per_tok": 1})], shards=2, shuffled=True, prompts=(1, 21, 76, 111))
    add("mixtral-odd", "mixtral", shape(4, 72, 6, 3, 37, 261), {**mixtral, "num_local_experts": 5, "sliding_window": 26},
        [off("sliding_window", {"sliding_window": None}), off("two experts", {"num_experts_per_tok": 3})], dtype="F16")
    moe = dict(rope_theta=1000000.0, decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False, sliding_window=None, max_window_layers=3,
               attention_bias=False, output_router_logits=False, router_aux_loss_coef=0.001)
    add("qwen3-moe", "qwen3_moe", shape(3, 72, 10, 5, 200, 319, head_dim=12),
        {**moe, "num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 35, "norm_topk_prob": True},
        [off("norm_topk_prob", {"norm_topk_prob": False}), off("the third expert", {"num_experts_per_tok": 2})], shuffled=True)
    del moe["rope_theta"]
    add("qwen3-moe-raw", "qwen3_moe", shape(4, 80, 5, 1, 200, 279, head_dim=20),
        {**moe, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "num_experts": 6, "num_experts_per_tok": 2,
         "moe_intermediate_size": 30, "norm_topk_prob": False},
        [off("norm_topk_prob", {"norm_topk_prob": True}), off("weights of the q and k norms", neutral=["*.q_norm.weight", "*.k_norm.weight"])],
        new_style=True, dtype="F16")


for build in (llamas, yarns, windows_and_biases, gemmas, phis_and_granite, post_norms_and_experts):
    build()


def main():
    for model in MODELS:
        folder.write(os.path.join(sys.argv[1], model["name"]), model)


if __name__ == "__main__":
    main()

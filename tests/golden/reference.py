"""The independent implementation that the goldens come from: transformers in FP32 on weights dequantized by the gguf package.

For developers only: needs torch, transformers, tokenizers, gguf and numpy. Nothing that CI runs imports this file.
"""

import os

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers


def model_path():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return os.environ.get("TRIREME_TEST_MODEL", os.path.join(cache, "trireme", "SmolLM2-135M-Instruct.Q4_1.gguf"))


class Gguf:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}

    def field(self, key):
        return self.reader.fields[key].contents()

    def weight(self, name):
        """FP32, [rows, columns]: the dequantization of the gguf package."""
        t = self.tensors[name]
        return np.ascontiguousarray(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32)


def rotary_halves(w, heads):
    """From GGUF's row order (a pair's rows stand together) to transformers' (pairs i and i + head_dim / 2)."""
    rows, columns = w.shape
    return w.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load_model(path):
    """LlamaForCausalLM in FP32, every weight checked to have been set."""
    g = Gguf(path)
    heads, kv_heads = g.field("llama.attention.head_count"), g.field("llama.attention.head_count_kv")
    config = transformers.LlamaConfig(
        hidden_size=g.field("llama.embedding_length"),
        intermediate_size=g.field("llama.feed_forward_length"),
        num_hidden_layers=g.field("llama.block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=g.field("llama.vocab_size"),
        max_position_embeddings=g.field("llama.context_length"),
        rms_norm_eps=g.field("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": g.field("llama.rope.freq_base")},
        tie_word_embeddings=True,
        attention_bias=False,
    )
    state = {"model.embed_tokens.weight": g.weight("token_embd.weight"), "model.norm.weight": g.weight("output_norm.weight")}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    names = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    for layer in range(config.num_hidden_layers):
        for theirs, ours in names.items():
            w = g.weight(f"blk.{layer}.{theirs}.weight")
            if theirs == "attn_q":
                w = rotary_halves(w, heads)
            if theirs == "attn_k":
                w = rotary_halves(w, kv_heads)
            state[f"model.layers.{layer}.{ours}.weight"] = w
    model = transformers.LlamaForCausalLM(config).to(torch.float32).eval()
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in state.items()}, strict=True)
    return model


def load_tokenizer(path):
    """As the published tokenizer.json: single digits first, which transformers' own GGUF import leaves out."""
    g = Gguf(path)
    tokens, merges, types = (g.field(f"tokenizer.ggml.{k}") for k in ("tokens", "merges", "token_type"))
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def chat(user):
    """SmolLM2's template for one user message."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def log_probs(model, ids):
    """[positions, vocabulary] log-softmax in FP64 of the FP32 logits."""
    return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)

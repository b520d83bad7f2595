"""Decode and prefill of a Llama shape with made-up BF16 weights in PyTorch, each step one CUDA graph: the neighbour of
`trireme bench decode` and `trireme bench prefill` of the same shape, with the same columns. Called by bench/gpu.sh.

    torch_decode.py decode --shape llama-3.1-8b --batch 1,16 --prompt-tokens 2048 --steps 32
    torch_decode.py prefill --shape llama-3.1-8b --prompt-tokens 4096
    torch_decode.py check      this implementation against transformers' on the CPU, in FP32; exit code 77 without that

What it does as ours: every sequence stands at --prompt-tokens already, the token is the best of the logits, and weights are
read once a step. What it does otherwise: prefill takes the whole prompt at once, and no cache is paged. Exit code 77 without CUDA."""

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


@dataclass(frozen=True)
class Shape:
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    rope_factor: float  # of llama3's scaling from 8192 positions on
    tied: bool
    rope_theta: float = 5e5
    epsilon: float = 1e-5


SHAPES = {
    "llama-3.2-1b": Shape(2048, 8192, 16, 32, 8, 64, 128256, 32, True),
    "llama-3.1-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, 8, False),
    "tiny": Shape(96, 160, 3, 6, 2, 16, 259, 8, False),
}
LOW, HIGH, ORIGINAL = 1.0, 4.0, 8192  # llama3's scaling: low_freq_factor, high_freq_factor, original positions


def rope_tables(shape, positions, device):
    """Cosines and sines, [positions, head_dim], FP32."""
    frequency = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim)
    turns = ORIGINAL * frequency / (2 * math.pi)
    smooth = ((turns - LOW) / (HIGH - LOW)).clamp(0, 1)
    frequency = (1 - smooth) * frequency / shape.rope_factor + smooth * frequency
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * torch.cat([frequency, frequency])[None]
    return angle.cos().to(device), angle.sin().to(device)


class Llama:
    """Weights of one model, [outputs, inputs], and a KV cache of `positions` for `batch` sequences, [batch, kv_heads, positions, head_dim]."""

    def __init__(self, shape, batch, positions, device, dtype):
        self.shape = shape
        made = torch.Generator(device="cpu").manual_seed(1)

        def matrix(outputs, inputs):
            values = torch.empty(outputs, inputs, device=device, dtype=dtype)
            if device == "cuda":
                return values.normal_(0, inputs**-0.5)
            return values.copy_(torch.randn(outputs, inputs, generator=made) * inputs**-0.5)

        heads, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        ones = lambda: torch.ones(shape.hidden, device=device, dtype=dtype)
        self.embedding = matrix(shape.vocabulary, shape.hidden)
        self.layers = [
            dict(attention_norm=ones(), qkv=matrix(heads + 2 * kv, shape.hidden), o=matrix(shape.hidden, heads), mlp_norm=ones(),
                 gate_up=matrix(2 * shape.intermediate, shape.hidden), down=matrix(shape.hidden, shape.intermediate))
            for _ in range(shape.layers)
        ]
        self.final_norm = ones()
        self.head = self.embedding if shape.tied else matrix(shape.vocabulary, shape.hidden)
        self.cosine, self.sine = rope_tables(shape, positions, device)
        self.columns = torch.arange(positions, device=device)
        self.take(batch)

    def take(self, batch):
        """So many sequences from now on, whose cache is no zeros: these would cost less power."""
        s = self.shape
        self.batch, self.cache, positions, like = batch, [], len(self.columns), self.embedding
        self.rows = torch.arange(batch, device=like.device)
        for _ in range(s.layers):
            self.cache.append(torch.empty(2, batch, s.kv_heads, positions, s.head_dim, device=like.device, dtype=like.dtype).normal_())

    def norm(self, x, weight):
        return functional.rms_norm(x, (self.shape.hidden,), weight, self.shape.epsilon)

    def rotate(self, x, cosine, sine):
        a, b = x.float().chunk(2, -1)
        return (torch.cat([a, b], -1) * cosine + torch.cat([-b, a], -1) * sine).to(x.dtype)

    def forward(self, tokens, attend, cosine, sine):
        """The residual stream after all layers. tokens [batch, rows]; attend(layer, q, k, v) of [batch, heads, rows, head_dim]."""
        s = self.shape
        x = self.embedding[tokens]
        for i, layer in enumerate(self.layers):
            qkv = functional.linear(self.norm(x, layer["attention_norm"]), layer["qkv"]).unflatten(-1, (-1, s.head_dim)).transpose(1, 2)
            q, k, v = qkv.split([s.heads, s.kv_heads, s.kv_heads], 1)
            mixed = attend(i, self.rotate(q, cosine, sine), self.rotate(k, cosine, sine), v)
            x = x + functional.linear(mixed.transpose(1, 2).flatten(2), layer["o"])
            gate, up = functional.linear(self.norm(x, layer["mlp_norm"]), layer["gate_up"]).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, layer["down"])
        return x

    def logits(self, x):
        return functional.linear(self.norm(x, self.final_norm), self.head).float()

    def decode(self, tokens, positions):
        """Logits after one more token of every sequence: tokens, positions [batch]."""
        s = self.shape
        hidden = (self.columns[None] > positions[:, None])[:, None, None]  # [batch, 1, 1, positions]

        def attend(layer, q, k, v):
            keys, values = self.cache[layer]
            keys[self.rows, :, positions] = k[:, :, 0]
            values[self.rows, :, positions] = v[:, :, 0]
            grouped = q.view(self.batch, s.kv_heads, s.heads // s.kv_heads, s.head_dim)
            scores = (grouped @ keys.transpose(2, 3)).float() * s.head_dim**-0.5
            weights = scores.masked_fill(hidden, -math.inf).softmax(-1).to(q.dtype)
            return (weights @ values).view(self.batch, s.heads, 1, s.head_dim)

        cosine, sine = self.cosine[positions][:, None, None], self.sine[positions][:, None, None]
        return self.logits(self.forward(tokens[:, None], attend, cosine, sine)[:, -1])

    def prefill(self, tokens):
        """Logits after the prompts: tokens [batch, rows], from position 0."""
        rows = tokens.shape[1]

        def attend(layer, q, k, v):
            self.cache[layer][0, :, :, :rows] = k
            self.cache[layer][1, :, :, :rows] = v
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        return self.logits(self.forward(tokens, attend, self.cosine[:rows], self.sine[:rows])[:, -1])


class Step:
    """What is done over and over: a CUDA graph, or by itself on a CPU."""

    def __init__(self, work, device):
        self.work, self.graph = work, None
        if device != "cuda":
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            work()

    def __call__(self):
        self.graph.replay() if self.graph else self.work()


def seconds_of(work, device):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def best_rate(amount, work, device):
    work()
    return max(amount / seconds_of(work, device) for _ in range(4))


def copy_gbps(device):
    values = (256 << 20) // 4 if device == "cuda" else 1 << 20
    a, b = torch.empty(values, device=device), torch.ones(values, device=device)
    return best_rate(8 * 2 * 4 * values / 1e9, lambda: [a.copy_(b) for _ in range(8)], device)


def product_gflops(device, dtype):
    edge = 8192 if device == "cuda" else 256
    a, b = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    return best_rate(8 * 2 * edge**3 / 1e9, lambda: [a @ b.T for _ in range(8)], device)


def bench(args):
    shape, device = SHAPES[args.shape], args.device
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    decode = args.what == "decode"
    limit = copy_gbps(device) if decode else product_gflops(device, dtype)
    model = Llama(shape, 1, args.prompt_tokens + (args.steps if decode else 0), device, dtype)
    for batch in args.batch if decode else [1]:
        model.take(batch)
        bench_batch(args, model, batch, limit)


def bench_batch(args, model, batch, limit):
    shape, device, decode = model.shape, args.device, args.what == "decode"
    dtype = model.embedding.dtype
    weights = [m for layer in model.layers for name, m in layer.items() if "norm" not in name]
    parameters = sum(m.numel() for m in weights)
    middle = args.prompt_tokens + args.steps // 2
    weight_bytes = (parameters + model.head.numel()) * dtype.itemsize
    cache_bytes = batch * middle * 2 * shape.layers * shape.kv_heads * shape.head_dim * dtype.itemsize
    if decode:
        tokens = torch.zeros(batch, device=device, dtype=torch.long)
        positions = torch.zeros(batch, device=device, dtype=torch.long)

        def work():
            tokens.copy_(model.decode(tokens, positions).argmax(-1))
            positions.add_(1)

        step = Step(work, device)
        count, per_step = args.steps, batch
    else:
        prompt = torch.arange(args.prompt_tokens, device=device)[None] * 7919 % shape.vocabulary
        last = torch.zeros(1, device=device, dtype=torch.long)
        step = Step(lambda: last.copy_(model.prefill(prompt).argmax(-1)), device)
        count, per_step = 1, args.prompt_tokens
    rates = []
    for sample in range(-1, args.repeats):  # -1: to warm up
        if decode:
            positions.fill_(args.prompt_tokens - 1)
        seconds = seconds_of(lambda: [step() for _ in range(count)], device)
        if sample >= 0:
            rates.append(count * per_step / seconds)
    rate = statistics.median(rates)
    work = (weight_bytes + cache_bytes) * rate / batch / 1e9 if decode else 2 * parameters * rate / 1e9
    print_figure(args, rates, work, limit, dict(
        model=f"{args.shape} in PyTorch {torch.__version__}, made-up weights of {str(dtype)[6:]}", batch=batch, prompt_tokens=args.prompt_tokens,
        weight_bytes=weight_bytes, **({"cache_bytes": cache_bytes} if decode else {}),
        limit_of="copies, bytes read and written" if decode else "a BF16 product of 8192 rows, columns and outputs"))


def print_figure(args, rates, work, limit, about):
    unit = "GB/s" if args.what == "decode" else "GOP/s"
    if args.json:
        print(json.dumps(dict(bench=f"torch {args.what}", unit="tok/s", median=statistics.median(rates), samples=rates, work=work, limit_unit=unit,
                              limit=limit, share=work / limit, **about)))
        return
    text = f"{'torch ' + args.what:<12} {statistics.median(rates):.4g} tok/s (median of {len(rates)}, {min(rates):.4g} to {max(rates):.4g})"
    text += f"; {work:.4g} {unit}, {100 * work / limit:.0f} % of the {limit:.4g} measured beside it"
    print(text + "".join(f"; {key} {value}" for key, value in about.items()), flush=True)


def check():
    """Logits and greedy tokens beside transformers' with the same weights."""
    try:
        import transformers
    except ImportError as missing:
        skip(f"no transformers: {missing}")

    shape, prompt_tokens, steps, batch = SHAPES["tiny"], 9, 7, 2
    rope = dict(rope_type="llama3", rope_theta=shape.rope_theta, factor=shape.rope_factor, low_freq_factor=LOW, high_freq_factor=HIGH,
                original_max_position_embeddings=ORIGINAL)
    config = transformers.LlamaConfig(
        hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, vocab_size=shape.vocabulary, rms_norm_eps=shape.epsilon,
        rope_parameters=rope, rope_theta=shape.rope_theta, rope_scaling=rope, tie_word_embeddings=False, max_position_embeddings=131072)
    theirs = transformers.LlamaForCausalLM(config).float().eval()
    ours = Llama(shape, batch, prompt_tokens + steps, "cpu", torch.float32)
    heads, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    state = {"model.embed_tokens.weight": ours.embedding, "model.norm.weight": ours.final_norm, "lm_head.weight": ours.head}
    for i, layer in enumerate(ours.layers):
        at = f"model.layers.{i}."
        for name, part in zip("qkv", layer["qkv"].split([heads, kv, kv])):
            state[f"{at}self_attn.{name}_proj.weight"] = part
        for name, part in zip(("gate", "up"), layer["gate_up"].chunk(2)):
            state[f"{at}mlp.{name}_proj.weight"] = part
        state |= {f"{at}self_attn.o_proj.weight": layer["o"], f"{at}mlp.down_proj.weight": layer["down"],
                  f"{at}input_layernorm.weight": layer["attention_norm"], f"{at}post_attention_layernorm.weight": layer["mlp_norm"]}
    theirs.load_state_dict(state)
    far = torch.arange(0, 100000, 997)
    cosine, sine = rope_tables(shape, 100000, "cpu")
    for name, table, expected in zip(("cosines", "sines"), (cosine, sine), theirs.model.rotary_emb(ours.cosine, far[None])):
        if not torch.allclose(table[far], expected[0], atol=1e-5):
            sys.exit(f"check: {name} of RoPE differ by {(table[far] - expected[0]).abs().max()}")
    text = torch.randint(0, shape.vocabulary, (batch, prompt_tokens), generator=torch.Generator().manual_seed(2))
    worst = 0.0
    logits = ours.prefill(text)
    for step in range(steps):
        expected = theirs(text).logits[:, -1]
        worst = max(worst, (logits - expected).abs().max().item())
        chosen = logits.argmax(-1)
        if not torch.equal(chosen, expected.argmax(-1)):
            sys.exit(f"check: other tokens at step {step}")
        text = torch.cat([text, chosen[:, None]], 1)
        if step + 1 < steps:
            logits = ours.decode(chosen, torch.full((batch,), prompt_tokens + step))
    if not worst < 1e-4:
        sys.exit(f"check: logits differ by {worst}")
    print(f"check: prefill and {steps - 1} steps of decoding give transformers' tokens, logits within {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["decode", "prefill", "check"])
    parser.add_argument("--shape", choices=list(SHAPES), default="llama-3.1-8b")
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[16], help="one number of sequences, or several")
    for name, value in (("prompt-tokens", 2048), ("steps", 32), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: without graphs, in FP32: shows that it works")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.what != "check" and args.device == "cuda" and not torch.cuda.is_available():
        skip("PyTorch sees no GPU")
    with torch.inference_mode():
        check() if args.what == "check" else bench(args)


if __name__ == "__main__":
    try:
        import torch
        from torch.nn import functional
    except ImportError as missing:
        skip(f"no PyTorch: {missing}")
    main()

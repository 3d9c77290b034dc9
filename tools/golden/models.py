"""Model goldens: tiny random checkpoints and what transformers computes with them.

Every case becomes one folder: an ordinary Hugging Face checkpoint (config.json,
safetensors) and golden.safetensors with the reference numbers. The weights come
from numpy's PCG64, so they do not depend on the torch build; the reference runs
in float32 with eager attention and eager experts on one thread.
"""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from output import write_json

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
GREEDY_PROMPT = 12
GREEDY_STEPS = 64
# A float32 forward pass of these sizes is reproducible to about 1e-5. Decisions (the
# next token, the order of the experts) must not hang on less than these margins.
MIN_TOKEN_MARGIN = 5e-3
MIN_EXPERT_MARGIN = 2e-4


@dataclass
class Case:
    """One checkpoint. `config` holds what differs from BASE in config.json."""

    name: str
    family: str  # "qwen3" or "qwen3_moe"
    dtype: str  # "f32", "bf16" or "f16"
    seed: int
    config: dict
    positions: int = 84
    spelling: str = "published"  # or "transformers5": who spelled config.json
    shard_bytes: int = 0  # 0: a single model.safetensors
    garbage_head: bool = False  # store an lm_head that the tied flag says to ignore
    generation: dict = field(default_factory=dict)  # generation_config.json


BASE = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "use_sliding_window": False,
}

PUBLISHED_GENERATION = {
    "bos_token_id": 1,
    "do_sample": True,
    "eos_token_id": [2, 1],
    "pad_token_id": 1,
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "transformers_version": "4.51.0",
}

CASES = [
    Case(
        "qwen3-dense-tied", "qwen3", "f32", 1000,
        dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, vocab_size=211, tie_word_embeddings=True),
        generation=PUBLISHED_GENERATION,
    ),
    Case(
        "qwen3-dense-untied-bf16", "qwen3", "bf16", 2001,
        dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, head_dim=16, vocab_size=300, tie_word_embeddings=False,
             rms_norm_eps=1e-5),
        spelling="transformers5", shard_bytes=90_000,
    ),
    Case(
        "qwen3-dense-f16", "qwen3", "f16", 3003,
        dict(hidden_size=32, intermediate_size=80, num_hidden_layers=4, num_attention_heads=8,
             num_key_value_heads=2, head_dim=8, vocab_size=97, tie_word_embeddings=False,
             rope_theta=1000000),
        spelling="transformers5",
    ),
    Case(
        "qwen3-dense-tied-with-stored-head", "qwen3", "f32", 4000,
        dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=24, vocab_size=128, tie_word_embeddings=True),
        garbage_head=True,
    ),
    Case(
        "qwen3moe-norm", "qwen3_moe", "f32", 5002,
        dict(hidden_size=48, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=199,
             tie_word_embeddings=False, num_experts=8, num_experts_per_tok=2,
             norm_topk_prob=True, mlp_only_layers=[], decoder_sparse_step=1),
        generation=PUBLISHED_GENERATION,
    ),
    Case(
        "qwen3moe-nonorm-bf16", "qwen3_moe", "bf16", 6003,
        dict(hidden_size=40, intermediate_size=88, moe_intermediate_size=24, num_hidden_layers=3,
             num_attention_heads=3, num_key_value_heads=1, head_dim=16, vocab_size=131,
             tie_word_embeddings=True, num_experts=16, num_experts_per_tok=4,
             norm_topk_prob=False, mlp_only_layers=[], decoder_sparse_step=1),
        shard_bytes=150_000,
    ),
    Case(
        "qwen3moe-mixed-f16", "qwen3_moe", "f16", 7007,
        dict(hidden_size=32, intermediate_size=72, moe_intermediate_size=24, num_hidden_layers=5,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=160,
             tie_word_embeddings=False, num_experts=12, num_experts_per_tok=3,
             norm_topk_prob=True, mlp_only_layers=[1], decoder_sparse_step=2),
    ),
    Case(
        "qwen3moe-theta-long", "qwen3_moe", "f32", 8002,
        dict(hidden_size=48, intermediate_size=80, moe_intermediate_size=16, num_hidden_layers=5,
             num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=173,
             tie_word_embeddings=False, num_experts=10, num_experts_per_tok=4,
             norm_topk_prob=True, mlp_only_layers=[0, 3], decoder_sparse_step=1,
             rope_theta=1000000.0),
        positions=168, spelling="transformers5",
    ),
]


class Degenerate(Exception):
    """The seed gives a golden that rounding could flip; choose another."""


# --- weights -----------------------------------------------------------------------


def is_moe_layer(config, layer):
    if "num_experts" not in config or layer in config["mlp_only_layers"]:
        return False
    return (layer + 1) % config["decoder_sparse_step"] == 0


def tensor_shapes(config):
    """Published tensor names of the checkpoint and their shapes, in file order."""
    c = config
    hidden, head = c["hidden_size"], c["head_dim"]
    queries, keys = c["num_attention_heads"] * head, c["num_key_value_heads"] * head

    def mlp(prefix, width):
        yield f"{prefix}.gate_proj.weight", (width, hidden)
        yield f"{prefix}.up_proj.weight", (width, hidden)
        yield f"{prefix}.down_proj.weight", (hidden, width)

    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        p = f"model.layers.{n}"
        yield f"{p}.input_layernorm.weight", (hidden,)
        yield f"{p}.self_attn.q_proj.weight", (queries, hidden)
        yield f"{p}.self_attn.k_proj.weight", (keys, hidden)
        yield f"{p}.self_attn.v_proj.weight", (keys, hidden)
        yield f"{p}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{p}.self_attn.q_norm.weight", (head,)
        yield f"{p}.self_attn.k_norm.weight", (head,)
        yield f"{p}.post_attention_layernorm.weight", (hidden,)
        if is_moe_layer(c, n):
            yield f"{p}.mlp.gate.weight", (c["num_experts"], hidden)
            for e in range(c["num_experts"]):
                yield from mlp(f"{p}.mlp.experts.{e}", c["moe_intermediate_size"])
        else:
            yield from mlp(f"{p}.mlp", c["intermediate_size"])
    yield "model.norm.weight", (hidden,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], hidden)


def make_weights(case, config):
    """Random weights scaled so that logits spread by 1 to 3 and gates decide."""
    rng = np.random.Generator(np.random.PCG64(case.seed))

    def scale(name, shape):
        if name.endswith("norm.weight"):
            return 0.2
        gain = 1.2
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            gain = 2.0
        elif name.endswith("mlp.gate.weight"):
            gain = 2.0
        elif name.endswith("down_proj.weight"):
            gain = 2.0  # silu(gate) * up is small
        return gain / np.sqrt(shape[-1])

    weights = {}
    for name, shape in tensor_shapes(config):
        values = rng.standard_normal(shape) * scale(name, shape)
        if name.endswith("norm.weight"):
            values += 1.0
        weights[name] = torch.from_numpy(values.astype(np.float32)).to(DTYPES[case.dtype])
    return weights


# --- checkpoint --------------------------------------------------------------------


def write_config(path, value):
    write_json(path, value, indent=2, sort_keys=True)


def published_config(case, config):
    """config.json as the published Qwen3 checkpoints spell it (transformers 4)."""
    moe = case.family == "qwen3_moe"
    published = dict(config)
    published |= {
        "architectures": ["Qwen3MoeForCausalLM" if moe else "Qwen3ForCausalLM"],
        "max_window_layers": config["num_hidden_layers"],
        "model_type": case.family,
        "rope_scaling": None,
        "sliding_window": None,
        "torch_dtype": str(DTYPES[case.dtype]).removeprefix("torch."),
        "transformers_version": "4.51.0",
        "use_cache": True,
    }
    if moe:
        published |= {"output_router_logits": False, "router_aux_loss_coef": 0.001}
    return published


def load(folder, dtype):
    """from_pretrained, refusing anything that did not match by name."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )
    problems = {k: v for k, v in info.items() if v and k != "unexpected_keys"}
    unexpected = set(info["unexpected_keys"]) - {"lm_head.weight"}
    if problems or unexpected:
        raise SystemExit(f"{folder}: transformers reports {problems} {unexpected}")
    return model.eval()


def read_tensors(folder):
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as f:
            for name in f.keys():
                tensors[name] = f.get_tensor(name)
    return tensors


def write_checkpoint(case, folder):
    """Lets transformers write the checkpoint, then checks that it wrote the published names.

    The weights go through a plain file first, so both directions of transformers'
    mapping between per-expert tensors and its fused parameters are exercised.
    """
    config = BASE | case.config
    weights = make_weights(case, config)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch)
        write_config(plain / "config.json", published_config(case, config))
        save_file(weights, plain / "model.safetensors", metadata={"format": "pt"})
        load(plain, DTYPES[case.dtype]).save_pretrained(
            folder, max_shard_size=case.shard_bytes or "1GB")

    stored = read_tensors(folder)
    if stored.keys() != weights.keys():
        raise SystemExit(f"{case.name}: saved names differ: {stored.keys() ^ weights.keys()}")
    for name, want in weights.items():
        if stored[name].dtype != want.dtype or not torch.equal(stored[name], want):
            raise SystemExit(f"{case.name}: {name} changed on the way to disk")
    if case.garbage_head:
        rng = np.random.Generator(np.random.PCG64(case.seed + 500))
        garbage = rng.standard_normal(weights["model.embed_tokens.weight"].shape) * 3
        weights["lm_head.weight"] = torch.from_numpy(garbage.astype(np.float32))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    rewrite_spelling(case, config, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.generation:
        write_config(folder / "generation_config.json", case.generation)


def rewrite_spelling(case, config, folder):
    """Respells config.json by hand; both spellings must mean the same to transformers."""
    if case.spelling == "transformers5":
        return

    def meaning():
        facts = AutoConfig.from_pretrained(folder).to_dict()
        # Who wrote the file, and what is inert without sliding windows or scaling.
        for key in ("transformers_version", "max_window_layers", "rope_scaling"):
            facts.pop(key, None)
        probe = torch.arange(3, 3 + GREEDY_PROMPT)
        return facts, prefill(load(folder, torch.float32), probe)["logits"]

    facts5, logits5 = meaning()
    write_config(folder / "config.json", published_config(case, config))
    facts4, logits4 = meaning()
    differing = [k for k in facts4.keys() | facts5.keys() if facts4.get(k) != facts5.get(k)]
    if differing or not torch.equal(logits4, logits5):
        raise SystemExit(f"{case.name}: the two spellings differ: {differing}")


# --- reference run -----------------------------------------------------------------


@contextlib.contextmanager
def recording(model):
    """Collects module outputs of one forward pass by golden name."""
    record, handles = {}, []

    def keep(module, name):
        def hook(_module, _inputs, output):
            record[name] = output.detach()[0].clone()
        handles.append(module.register_forward_hook(hook))

    def keep_route(module, layer):
        def hook(_module, _inputs, output):
            logits, weights, index = output
            record[f"moe.{layer}.router_logits"] = logits.detach().clone()
            record[f"moe.{layer}.topk_weight"] = weights.detach().clone()
            record[f"moe.{layer}.topk_index"] = index.detach().clone()
        handles.append(module.register_forward_hook(hook))

    keep(model.model.embed_tokens, "hidden.0")
    for n, layer in enumerate(model.model.layers):
        keep(layer, f"hidden.{n + 1}")
        if hasattr(layer.mlp, "experts"):
            keep_route(layer.mlp.gate, n)
    keep(model.model.norm, "final_hidden")
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def prefill(model, ids):
    """All positions in one pass: name -> tensor, first dimension positions."""
    with recording(model) as record:
        record["logits"] = model(ids[None], use_cache=False).logits[0]
    return record


@torch.no_grad()
def greedy(model, prompt, steps):
    """Greedy continuation with transformers' KV cache: tokens [steps], logits [steps, vocab]."""
    tokens, rows = [], []
    out = model(prompt[None], use_cache=True)
    for _ in range(steps):
        row = out.logits[0, -1]
        rows.append(row)
        tokens.append(int(row.argmax()))
        out = model(torch.tensor([[tokens[-1]]]), past_key_values=out.past_key_values,
                    use_cache=True)
    return torch.tensor(tokens), torch.stack(rows)


@torch.no_grad()
def tie_as_flagged(case, model):
    """Ties the head as transformers 4 and vLLM do; returns the stored head.

    transformers 5 refuses to tie when both tensors are stored and differ: it warns and
    uses the stored head. Our goldens follow the flag.
    """
    stored = model.lm_head.weight.detach().clone()
    embedding = model.model.embed_tokens.weight
    if torch.equal(stored, embedding):
        raise SystemExit(f"{case.name}: transformers tied the head by itself; update the README")
    model.lm_head.weight = embedding
    return stored


def check_margins(case, record, tokens, rows, noise):
    top = rows.topk(2).values
    gap = float((top[:, 0] - top[:, 1]).min())
    expert_gap = float("inf")
    for name, logits in record.items():
        if name.endswith("router_logits"):
            k = case.config["num_experts_per_tok"]
            ordered = logits.sort(descending=True).values[:, : k + 1]
            expert_gap = min(expert_gap, float((ordered[:, :-1] - ordered[:, 1:]).min()))
    if gap < MIN_TOKEN_MARGIN or expert_gap < MIN_EXPERT_MARGIN:
        raise Degenerate(f"{case.name}: token margin {gap:.2g}, expert margin {expert_gap:.2g}")
    if len(set(tokens.tolist())) < 12 or {1, 2} & set(tokens.tolist()):
        raise Degenerate(f"{case.name}: greedy run repeats itself or meets a stop id")
    if noise > 1e-4:
        raise Degenerate(f"{case.name}: cached and uncached logits differ by {noise:.2g}")
    return gap, expert_gap


def reference(case, folder):
    """Runs the stored checkpoint in float32: tensors for golden.safetensors and a summary."""
    model = load(folder, torch.float32)
    as_loaded = tie_as_flagged(case, model) if case.garbage_head else None
    rng = np.random.Generator(np.random.PCG64(case.seed + 1))
    vocab = case.config["vocab_size"]
    ids = torch.from_numpy(rng.integers(0, vocab, case.positions))
    prompt = torch.from_numpy(rng.integers(0, vocab, GREEDY_PROMPT))

    record = prefill(model, ids)
    if as_loaded is not None:
        record["stored_head.logits"] = record["final_hidden"] @ as_loaded.T
    tokens, rows = greedy(model, prompt, GREEDY_STEPS)
    whole = prefill(model, torch.cat([prompt, tokens[:-1]]))
    noise = float((whole["logits"][GREEDY_PROMPT - 1:] - rows).abs().max())
    routes = {f"greedy.{k}": v for k, v in whole.items() if k.endswith("router_logits")}
    gap, expert_gap = check_margins(case, record | routes, tokens, rows, noise)

    golden = {"input_ids": ids, "greedy.prompt": prompt, "greedy.tokens": tokens,
              "greedy.logits": rows} | record
    summary = (f"logits std {record['logits'].std():.2f}, hidden std "
               f"{record['hidden.0'].std():.2f}..{record[last_hidden(case)].std():.2f}, "
               f"token margin {gap:.3f}, expert margin {expert_gap:.4f}, "
               f"cache noise {noise:.1g}, {len(set(tokens.tolist()))} distinct tokens")
    return {k: v.contiguous() for k, v in golden.items()}, summary


def last_hidden(case):
    return f"hidden.{case.config['num_hidden_layers']}"


def make_case(case, out):
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_checkpoint(case, folder)
    golden, summary = reference(case, folder)
    save_file(golden, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    return summary


def make(out):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in CASES:
        print(f"{case.name}: {make_case(case, out)}")

"""A plain qwen3_moe for training on a CPU: no padding in the feed-forward part, experts on sorted tokens.

Sequences come in buckets of one length each; everything but attention runs on the rows of all buckets at once.
`to_hf` hands the weights to transformers, which writes the checkpoint.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM


def config(vocab, im_end, end_of_text):
    return Qwen3MoeConfig(
        vocab_size=vocab, hidden_size=96, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, intermediate_size=256, moe_intermediate_size=80, num_experts=16, num_experts_per_tok=4,
        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], hidden_act="silu", rms_norm_eps=1e-6,
        max_position_embeddings=4096, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False, attention_bias=False, attention_dropout=0.0, router_aux_loss_coef=0.01,
        bos_token_id=None, eos_token_id=im_end, pad_token_id=end_of_text, use_cache=True, dtype="bfloat16",
    )  # fmt: skip


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = nn.Linear(c.hidden_size, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, c.hidden_size, bias=False)
        self.q_norm, self.k_norm = Norm(self.dim, c.rms_norm_eps), Norm(self.dim, c.rms_norm_eps)

    def forward(self, x, buckets, cos, sin):
        """x [rows, hidden] f32; buckets [(sequences, length)] with rows = the sum of their products."""
        q = rotate(self.q_norm(self.q_proj(x).view(-1, self.heads, self.dim)), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).view(-1, self.kv_heads, self.dim)), cos, sin)
        v = self.v_proj(x).view(-1, self.kv_heads, self.dim)
        sizes, out = [n * length for n, length in buckets], []
        for (n, length), qb, kb, vb in zip(buckets, q.split(sizes), k.split(sizes), v.split(sizes)):
            qb, kb, vb = (t.view(n, length, -1, self.dim).transpose(1, 2) for t in (qb, kb, vb))
            kb, vb = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (kb, vb))
            o = F.scaled_dot_product_attention(qb, kb, vb, is_causal=True)
            out.append(o.transpose(1, 2).reshape(n * length, -1))
        return self.o_proj(torch.cat(out))


def rotate(x, cos, sin):
    """Half-split rotary embedding of x [rows, heads, dim]; cos, sin [rows, 1, dim/2]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Experts(nn.Module):
    """Softmax gate, top-k renormalised, and the expert MLPs; keeps its load-balancing loss and counts."""

    def __init__(self, c):
        super().__init__()
        self.top_k, self.n = c.num_experts_per_tok, c.num_experts
        width = c.moe_intermediate_size
        self.gate = nn.Parameter(torch.randn(self.n, c.hidden_size) * 0.02)
        self.gate_up = nn.Parameter(torch.randn(self.n, 2 * width, c.hidden_size) * c.hidden_size**-0.5)
        self.down = nn.Parameter(torch.randn(self.n, c.hidden_size, width) * width**-0.5)

    def forward(self, x):
        probs = torch.softmax(F.linear(x, self.gate), dim=-1)
        top, chosen = probs.topk(self.top_k, dim=-1)
        top = top / top.sum(-1, keepdim=True)
        flat = chosen.flatten()
        self.counts = torch.bincount(flat, minlength=self.n)
        self.aux = (self.counts / flat.numel() * probs.mean(0)).sum() * self.n
        order = flat.argsort()
        sizes = self.counts.tolist()
        rows = x[order // self.top_k].split(sizes)
        gate, up = torch.cat([r @ w.T for r, w in zip(rows, self.gate_up)]).chunk(2, dim=-1)
        hidden = (F.silu(gate) * up).split(sizes)
        out = torch.cat([h @ w.T for h, w in zip(hidden, self.down)])
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return (out[back].view(-1, self.top_k, x.shape[-1]) * top[..., None]).sum(1)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_norm, self.post_norm = (Norm(c.hidden_size, c.rms_norm_eps) for _ in range(2))
        self.attention, self.experts = Attention(c), Experts(c)

    def forward(self, x, buckets, cos, sin):
        x = x + self.attention(self.input_norm(x), buckets, cos, sin)
        return x + self.experts(self.post_norm(x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)
        self.head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)
        for layer in self.layers:
            out = 1 / math.sqrt(2 * c.num_hidden_layers)
            layer.attention.o_proj.weight.data.mul_(out)
            layer.experts.down.data.mul_(out)

    def hidden(self, ids, buckets):
        """ids [rows] of all buckets, one sequence after the other. Returns [rows, hidden] after the last norm."""
        c = self.config
        place = torch.cat([torch.arange(length).repeat(n) for n, length in buckets])
        frequency = c.rope_parameters["rope_theta"] ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
        angle = (place[:, None] * frequency)[:, None, :]
        cos, sin = angle.cos(), angle.sin()
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, buckets, cos, sin)
        return self.norm(x)

    def aux(self):
        return sum(layer.experts.aux for layer in self.layers) / len(self.layers)


def hf_name(name):
    """transformers' name of one of Model's parameters."""
    outer = {"embed.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight",
             "head.weight": "lm_head.weight"}  # fmt: skip
    if name in outer:
        return outer[name]
    _, index, part = name.split(".", 2)
    inner = {"input_norm.weight": "input_layernorm.weight", "post_norm.weight": "post_attention_layernorm.weight",
             "experts.gate": "mlp.gate.weight", "experts.gate_up": "mlp.experts.gate_up_proj",
             "experts.down": "mlp.experts.down_proj"}  # fmt: skip
    return f"model.layers.{index}." + inner.get(part, part.replace("attention.", "self_attn."))


def to_hf(model, weights):
    """A transformers model with these weights, named as in model's state_dict."""
    hf = Qwen3MoeForCausalLM(model.config).float()
    hf.load_state_dict({hf_name(name): tensor for name, tensor in weights.items()}, strict=True)
    return hf.eval()


def from_hf(model, folder):
    """Loads a checkpoint folder that to_hf's model wrote."""
    weights = Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    model.load_state_dict({name: weights[hf_name(name)] for name in model.state_dict()}, strict=True)

"""A LLaMA-architecture model in plain PyTorch, small enough to be read and trained on one core.

L layers, d hidden size, H query heads, G KV heads, h head dim, f intermediate size, V vocabulary.
The weights of all layers lie in one tensor per kind, [L, out, in], so that the optimiser handles
them in one batch. `to_hugging_face` names them as transformers' LlamaForCausalLM does.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    layers: int = 8
    hidden: int = 128
    query_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 384
    vocabulary: int = 1536
    positions: int = 256
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def config(self):
        """The config.json of transformers' LlamaForCausalLM."""
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "vocab_size": self.vocabulary, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
            "num_attention_heads": self.query_heads, "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim, "hidden_act": "silu", "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta, "max_position_embeddings": self.positions,
            "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
            "bos_token_id": None, "eos_token_id": 0, "torch_dtype": "bfloat16"}


def rotary_tables(shape):
    """cos and sin, [positions, h]; dims p and p + h/2 form the rotary pair p."""
    half = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
    angles = torch.arange(shape.positions).float()[:, None] / shape.rope_theta ** half
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        n, d, f = shape.layers, shape.hidden, shape.intermediate
        q, kv = shape.query_heads * shape.head_dim, shape.kv_heads * shape.head_dim

        def matrix(rows, columns, gain=1.0):
            return nn.Parameter(gain * torch.randn(n, rows, columns) / columns ** 0.5)

        self.embedding = nn.Parameter(0.05 * torch.randn(shape.vocabulary, d))
        self.q, self.k, self.v = matrix(q, d), matrix(kv, d), matrix(kv, d)
        self.gate, self.up = matrix(f, d), matrix(f, d)
        # Small outputs: each block begins near the identity.
        self.o, self.down = matrix(d, q, 0.1), matrix(d, f, 0.1)
        self.attention_norm = nn.Parameter(torch.ones(n, d))
        self.mlp_norm = nn.Parameter(torch.ones(n, d))
        self.final_norm = nn.Parameter(torch.ones(d))
        cos, sin = rotary_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def matrices(self):
        return [self.q, self.k, self.v, self.o, self.gate, self.up, self.down]

    def _rotate(self, x):
        a, b = x.chunk(2, dim=-1)
        length = x.shape[-2]
        return x * self.cos[:length] + torch.cat([-b, a], dim=-1) * self.sin[:length]

    def _attention(self, x, q, k, v, o):
        s = self.shape
        batch, length, _ = x.shape
        heads = F.linear(x, torch.cat([q, k, v])).view(batch, length, -1, s.head_dim)
        qk, v = heads.transpose(1, 2).split([s.query_heads + s.kv_heads, s.kv_heads], dim=1)
        q, k = self._rotate(qk).split([s.query_heads, s.kv_heads], dim=1)
        group = s.query_heads // s.kv_heads
        y = F.scaled_dot_product_attention(q, k.repeat_interleave(group, dim=1),
                                           v.repeat_interleave(group, dim=1), is_causal=True)
        return F.linear(y.transpose(1, 2).reshape(batch, length, -1), o)

    def _norm(self, x, weight):
        return F.rms_norm(x, (self.shape.hidden,), weight, self.shape.norm_eps)

    def forward(self, ids):
        """ids [batch, length] -> logits [batch, length, V]"""
        x = F.embedding(ids, self.embedding)
        # Unbound once: indexing layer by layer would make a full-size gradient for each layer.
        layers = zip(*(p.unbind() for p in [self.attention_norm, self.mlp_norm, *self.matrices()]))
        for attention_norm, mlp_norm, q, k, v, o, gate, up, down in layers:
            x = x + self._attention(self._norm(x, attention_norm), q, k, v, o)
            y = self._norm(x, mlp_norm)
            x = x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), down)
        return F.linear(self._norm(x, self.final_norm), self.embedding)

    def loss(self, ids):
        """Mean negative log-likelihood of ids[:, 1:], natural logarithm."""
        logits = self(ids[:, :-1])
        return F.cross_entropy(logits.reshape(-1, self.shape.vocabulary), ids[:, 1:].reshape(-1))

    def _stacked_names(self):
        return {"self_attn.q_proj": self.q, "self_attn.k_proj": self.k, "self_attn.v_proj": self.v,
                "self_attn.o_proj": self.o, "mlp.gate_proj": self.gate, "mlp.up_proj": self.up,
                "mlp.down_proj": self.down, "input_layernorm": self.attention_norm,
                "post_attention_layernorm": self.mlp_norm}

    def to_hugging_face(self, dtype):
        tensors = {"model.embed_tokens.weight": self.embedding,
                   "model.norm.weight": self.final_norm}
        for layer in range(self.shape.layers):
            for name, stacked in self._stacked_names().items():
                tensors[f"model.layers.{layer}.{name}.weight"] = stacked[layer]
        return {name: tensor.detach().to(dtype).clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load_hugging_face(self, tensors):
        self.embedding.copy_(tensors["model.embed_tokens.weight"])
        self.final_norm.copy_(tensors["model.norm.weight"])
        for layer in range(self.shape.layers):
            for name, stacked in self._stacked_names().items():
                stacked[layer].copy_(tensors[f"model.layers.{layer}.{name}.weight"])

"""Turns a GGUF file of SmolLM2 into a Hugging Face model folder.

Usage: python3 smollm2_from_gguf.py MODEL.gguf DIR

DIR must not exist. Needs the packages gguf and numpy. Reads and writes one tensor at a time.
"""

import json
import pathlib
import sys

import gguf
import numpy as np

# GGUF's names of a layer's tensors, and those of transformers' LlamaForCausalLM.
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def field(reader, name):
    if name not in reader.fields:
        sys.exit(f"error: {reader.path}: no metadata key {name}; is this a GGUF file of SmolLM2?")
    return reader.fields[name].contents()


def make_config(reader):
    heads = field(reader, "llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": field(reader, "tokenizer.ggml.padding_token_id"),
        "head_dim": field(reader, "llama.embedding_length") // heads,
        "hidden_act": "silu",
        "hidden_size": field(reader, "llama.embedding_length"),
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "max_position_embeddings": field(reader, "llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        # GGUF keeps float32 (0.00000999...); the model's own value has few digits.
        "rms_norm_eps": float(f"{field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": field(reader, "llama.rope.freq_base"),
        # GGUF omits the output matrix of a model that shares it with the embedding.
        "tie_word_embeddings": all(t.name != "output.weight" for t in reader.tensors),
        "torch_dtype": "bfloat16",
        "vocab_size": field(reader, "llama.vocab_size"),
    }


def make_tokenizer(reader):
    """tokenizer.json of a byte-level BPE with SmolLM's pre-tokenizer: single digits, then GPT-2's
    pattern."""
    if field(reader, "tokenizer.ggml.model") != "gpt2":
        sys.exit(f"error: {reader.path}: the tokenizer is not a byte-level BPE")
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    added = [
        {
            "id": i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, (token, kind) in enumerate(zip(tokens, types))
        if kind == gguf.TokenType.CONTROL
    ]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "add_prefix_space": False},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": field(reader, "tokenizer.ggml.merges"),
        },
    }


def make_tokenizer_config(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")

    def special(name):
        return tokens[field(reader, f"tokenizer.ggml.{name}_token_id")]

    return {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "bos_token": special("bos"),
        "eos_token": special("eos"),
        "unk_token": special("unknown"),
        "pad_token": special("padding"),
        "chat_template": field(reader, "tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": field(reader, "llama.context_length"),
    }


def hf_name(name):
    if name in ("token_embd.weight", "output_norm.weight", "output.weight"):
        return {
            "token_embd.weight": "model.embed_tokens.weight",
            "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        }[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[kind]}.weight"


def undo_rope_permutation(weight, heads):
    """GGUF stores the rows of a head of q and k as (p, p + h/2) neighbours, for interleaved RoPE;
    Hugging Face as all first halves, then all second halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_bfloat16(values):
    """Rounds float32 to the nearest bfloat16, ties to even; returns the upper 16 bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype("<u2")


def write_tensors(reader, config, path):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for tensor in reader.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        size = 2 * int(np.prod(shape))
        header[hf_name(tensor.name)] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            kind = tensor.name.split(".")[-2]
            if kind in heads:
                values = undo_rope_permutation(values, heads[kind])
            file.write(to_bfloat16(values).tobytes())


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader = gguf.GGUFReader(sys.argv[1])
    reader.path = sys.argv[1]
    if field(reader, "general.architecture") != "llama":
        sys.exit(f"error: {reader.path}: not a GGUF file of a LLaMA architecture")
    target = pathlib.Path(sys.argv[2])
    target.mkdir()
    config = make_config(reader)
    write_json(target / "config.json", config)
    write_json(target / "tokenizer.json", make_tokenizer(reader))
    write_json(target / "tokenizer_config.json", make_tokenizer_config(reader))
    write_tensors(reader, config, target / "model.safetensors")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Write the golden files of the readers of safetensors, GGUF and config.json.

    make_golden.py OUT_DIR [--real MODELS_DIR]

dequantised.safetensors   for each GGUF type: random blocks, scales of every kind among them, and their values by gguf.quants
mixed.safetensors         tensors of several types, empty and scalar ones, and the values of the 16-bit ones
tiny-hf/, tiny.gguf       one model both ways: biases, llama3 scaling, grouped heads; in shards, and with interleaved rows
rope.json                 inverse frequencies by transformers
real.json                 with --real: SHA-256 of the dequantised tensors of real GGUF files, in Hugging Face's row order

Needs: torch, transformers, safetensors, gguf, numpy.
"""
import argparse, glob, hashlib, importlib.metadata, json, math, os, sys
import gguf, numpy as np, torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

SEED = 7
p = argparse.ArgumentParser()
p.add_argument("out"); p.add_argument("--real")
a = p.parse_args()
os.makedirs(a.out, exist_ok=True)
rng = np.random.default_rng(SEED)
torch.manual_seed(SEED)
here = lambda *names: os.path.join(a.out, *names)
TYPES = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()


def interleave(m, heads, dim):
    return m.reshape(heads, 2, dim // 2, *m.shape[1:]).swapaxes(1, 2).reshape(m.shape)


def undo(m, heads, dim):
    return m.reshape(heads, dim // 2, 2, *m.shape[1:]).swapaxes(1, 2).reshape(m.shape)


def dequantised():
    tensors = {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (8 if elements > 1 else 512, size), dtype=np.uint8)
        with np.errstate(all="ignore"):
            values = gguf.dequantize(blocks, kind)
        tensors[name + ".blocks"] = torch.from_numpy(blocks)
        tensors[name + ".values"] = torch.from_numpy(np.ascontiguousarray(values))
    save_file(tensors, here("dequantised.safetensors"))


def mixed():
    tensors = {
        "matrix": torch.randn(5, 7), "half": torch.randn(3, 4).half() * 1e-3, "brain": torch.randn(2, 9).bfloat16(),
        "mask": torch.arange(6, dtype=torch.uint8).reshape(2, 3), "ids": torch.tensor([1, -2, 3]),
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "name with \"quotes\" and ü": torch.ones(1),
    }
    tensors["half.values"] = tensors["half"].float()
    tensors["brain.values"] = tensors["brain"].float()
    save_file(tensors, here("mixed.safetensors"), metadata={"format": "pt"})


def rope_config(**extra):
    sizes = dict(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    return LlamaConfig(**{**sizes, **extra})


def tiny():
    scaling = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    config = rope_config(rope_parameters=scaling, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5, max_position_embeddings=512, head_dim=16,
                         bos_token_id=1, eos_token_id=[2, 5], tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for q in model.parameters():
            q.add_(0.1 * torch.randn_like(q))
    model.save_pretrained(here("tiny-hf"), max_shard_size="50KB")
    write_gguf(model, here("tiny.gguf"))


RENAME = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
          "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
          "post_attention_layernorm": "ffn_norm"}
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in OUTER:
        return OUTER[name]
    _, _, i, rest = name.split(".", 3)
    part, suffix = rest.rsplit(".", 1)
    return f"blk.{i}.{RENAME[part]}.{suffix}"


def write_gguf(model, path):
    c = model.config
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(c.num_hidden_layers); w.add_context_length(c.max_position_embeddings); w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size); w.add_head_count(c.num_attention_heads); w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps); w.add_rope_freq_base(c.rope_parameters["rope_theta"]); w.add_rope_dimension_count(c.head_dim)
    w.add_key_length(c.head_dim); w.add_value_length(c.head_dim); w.add_vocab_size(c.vocab_size)
    w.add_bos_token_id(1); w.add_eos_token_id(2); w.add_eot_token_id(5); w.add_token_list([f"t{i}" for i in range(c.vocab_size)])
    w.add_array("test.nested", [[1, 2], [3]]); w.add_array("test.floats", [0.5, 1.5]); w.add_bool("test.bool", True)
    w.add_uint64("test.uint64", 2**63); w.add_int8("test.int8", -3); w.add_float64("test.float64", 0.1)
    for name, tensor in model.state_dict().items():
        x = tensor.numpy()
        if ".q_proj" in name or ".k_proj" in name:
            x = interleave(x, c.num_attention_heads if ".q_proj" in name else c.num_key_value_heads, c.head_dim)
        w.add_tensor(gguf_name(name), np.ascontiguousarray(x))
    r = c.rope_parameters
    factors = []
    for i in range(0, c.head_dim, 2):
        wave = 2 * math.pi * r["rope_theta"] ** (i / c.head_dim)
        smooth = (r["original_max_position_embeddings"] / wave - r["low_freq_factor"]) / (r["high_freq_factor"] - r["low_freq_factor"])
        factors.append(1 / ((1 - min(1, max(0, smooth))) / r["factor"] + min(1, max(0, smooth))))
    w.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


def rope():
    llama3 = lambda *v: dict(zip(("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), v), rope_type="llama3")
    cases = []
    for theta, dim, scaling in [(10000.0, 64, {}), (100000.0, 64, {}), (500000.0, 128, {}), (1234567.0, 80, {}), (10000.0, 2, {}),
                                (10000.0, 64, {"rope_type": "linear", "factor": 2.0}), (10000.0, 96, {"rope_type": "linear", "factor": 3.3}),
                                (500000.0, 128, llama3(8.0, 1.0, 4.0, 8192)), (500000.0, 64, llama3(32.0, 1.0, 4.0, 8192)),
                                (500000.0, 32, llama3(8.0, 1.0, 4.0, 64)), (10000.0, 64, llama3(4.0, 2.0, 9.0, 700))]:
        config = rope_config(head_dim=dim, rope_parameters={"rope_type": "default", "rope_theta": theta, **scaling})
        cases.append({"theta": theta, "head_dim": dim, "scaling": scaling, "inverse_frequencies": [float(f) for f in LlamaRotaryEmbedding(config).inv_freq]})
    json.dump(cases, open(here("rope.json"), "w"), indent=1)


def real():
    result = {}
    for path in sorted(glob.glob(os.path.join(a.real, "*.gguf")) + glob.glob(os.path.join(a.real, "tiny", "*.gguf"))):
        reader = gguf.GGUFReader(path)
        field = lambda key: reader.fields["llama." + key].contents()
        heads, kv, dim = field("attention.head_count"), field("attention.head_count_kv"), field("rope.dimension_count")
        hashes = {}
        for t in reader.tensors:
            x = gguf.dequantize(t.data, t.tensor_type)
            if ".attn_q." in t.name or ".attn_k." in t.name:
                x = undo(x, heads if ".attn_q." in t.name else kv, dim)
            hashes[t.name] = hashlib.sha256(np.ascontiguousarray(x, dtype=np.float32).tobytes()).hexdigest()
        hashes.pop("rope_freqs.weight", None)
        digest = hashlib.sha256("".join(f"{k} {hashes[k]}\n" for k in sorted(hashes)).encode()).hexdigest()
        result[os.path.relpath(path, a.real)] = {"file": hashlib.sha256(open(path, "rb").read()).hexdigest(), "tensors": digest}
    json.dump(result, open(here("real.json"), "w"), indent=1)


dequantised(); mixed(); tiny(); rope()
if a.real:
    real()
files = [os.path.relpath(f, a.out) for f in sorted(glob.glob(here("**"), recursive=True)) if os.path.isfile(f) and not f.endswith(("golden.json", ".py"))]
versions = {n: importlib.metadata.version(n) for n in ("torch", "transformers", "safetensors", "gguf", "numpy")}
json.dump({"versions": versions, "seed": SEED, "command": "make_golden.py . --real RORA_TEST_FILES/models",
           "sha256": {f: hashlib.sha256(open(here(f), "rb").read()).hexdigest() for f in files}}, open(here("golden.json"), "w"), indent=1)
print(files)

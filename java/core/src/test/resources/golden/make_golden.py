#!/usr/bin/env python3
"""Writes the golden cases beside it: what PyTorch + PEFT compute on tiny LLaMA models.

    make_golden.py [CASE ...]      (all cases without an argument)

Each case is a folder with model/ (Hugging Face layout), rows.json, init/ (the adapter before training,
PEFT layout; not for PiSSA and full fine-tuning) and golden.json: options, versions, SHA-256 of the files,
loss, gradient norm and learning rate of every step, and logits of some positions before and after.
Needs torch, transformers, tokenizers, safetensors and peft 0.21. Runs in about a minute.
"""
import hashlib
import json
import math
import shutil
import sys
from pathlib import Path

import peft
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
HEAD = "Below is an instruction that describes a task"
TAIL = "Write a response that appropriately completes the request.\n\n### Instruction:\n"
PLAIN = HEAD + ". " + TAIL + "{instruction}\n\n### Response:\n"
WITH_INPUT = (HEAD + ", paired with an input that provides further context. " + TAIL
              + "{instruction}\n\n### Input:\n{input}\n\n### Response:\n")
BASE = dict(hidden=32, heads=4, kv_heads=2, head_dim=None, inter=44, vocab=320, tie=False, bias=False,
            mlp_bias=False, rope="default", dtype="bfloat16", shards=1)
RUN = dict(method="rora", scaling="lora", init="kaiming", rank=4, alpha=8, rank_pattern={}, alpha_pattern={},
           target_modules=["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"], max_steps=20, batch_size=4,
           lr=3e-3, lr_scheduler="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0,
           lora_plus_ratio=1.0, cutoff_len=256, train_on_inputs=False, dtype="fp32")
CASES = {
    "rora-llama3-tied": (dict(tie=True, rope="llama3", dtype="float32", inter=36), dict(warmup_steps=5)),
    "lora-linear-bias": (dict(head_dim=12, rope="linear", bias=True, mlp_bias=True),
                         dict(method="lora", lr_scheduler="constant", warmup_steps=3, train_on_inputs=True,
                              target_modules="all-linear")),
    "dora": (dict(hidden=40, heads=5, kv_heads=1), dict(method="dora", lr_scheduler="cosine", warmup_steps=4)),
    "dora-rora-patterns": (dict(bias=True, shards=2),
                           dict(method="dora", scaling="rora", lora_plus_ratio=4.0, weight_decay=0.05,
                                rank_pattern={"v_proj": 2, "layers.1.mlp.up_proj": 6},
                                alpha_pattern={"down_proj": 5.0})),
    "rora-patterns-plus": (dict(head_dim=16, shards=3, kv_heads=4),
                           dict(lora_plus_ratio=16.0, lr=1e-3, weight_decay=0.1, max_grad_norm=0.05, rank=5, alpha=7,
                                rank_pattern={"q_proj": 9, "model.layers.0.mlp.down_proj": 1},
                                alpha_pattern={"q_proj": 3.0, "k_proj": 20.0},
                                target_modules=["q_proj", "k_proj", "o_proj", "gate_proj", "down_proj"])),
    "rora-cut-off": (dict(), dict(cutoff_len=72, lr_scheduler="cosine", batch_size=2)),
    "rora-bf16": (dict(hidden=36, heads=3, kv_heads=3, vocab=300), dict(dtype="bf16", rank=8, alpha=16)),
    "pissa": (dict(), dict(init="pissa", method="rora", lr=1e-3)),
    "full": (dict(tie=True, bias=True, dtype="float32", inter=36), dict(method="full", lr=1e-3, warmup_steps=2)),
}


def make_rows():
    places = ["harbour", "mill", "old bridge", "market", "lighthouse", "library"]
    people = ["Ada", "Björn", "Chloé", "Dmitri", "Eun-ji"]
    rows = []
    for i in range(23):
        place, person = places[i % 6], people[i % 5]
        row = {"instruction": f"Who keeps the key of the {place}?" if i % 3 else f"Say where {person} works.",
               "input": "" if i % 4 else f"Day {i + 1} of the month", "output": f"{person}, since {1900 + 7 * i}"}
        if i % 5 == 2:
            row["instruction"] += f" Answer in one short sentence, please, and name the {places[(i + 1) % 6]} too."
        rows.append(row)
    return rows


def make_model(folder, o, rows):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=o["vocab"], special_tokens=["<unk>", "<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([PLAIN.format(**r) + r["output"] for r in rows], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
                                                unk_token="<unk>", pad_token="<unk>")
    rope = {"default": None, "linear": {"rope_type": "linear", "factor": 2.0},
            "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 64}}[o["rope"]]
    extra = {} if rope is None else {"rope_scaling": rope}
    if o["head_dim"]:
        extra["head_dim"] = o["head_dim"]
    torch.manual_seed(11)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=o["vocab"], hidden_size=o["hidden"], intermediate_size=o["inter"], num_hidden_layers=2,
        num_attention_heads=o["heads"], num_key_value_heads=o["kv_heads"], max_position_embeddings=512,
        rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=o["tie"], attention_bias=o["bias"],
        mlp_bias=o["mlp_bias"], bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.12, **extra))
    with torch.no_grad():  # so that a norm or a bias left out or applied twice is seen
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model = model.to(getattr(torch, o["dtype"]))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    limit = "5GB" if o["shards"] == 1 else f"{size // o['shards'] // 1000 + 1}KB"
    model.save_pretrained(folder, max_shard_size=limit)
    fast.save_pretrained(folder)


def sequence(tokenizer, row, o):
    prompt = (WITH_INPUT if row["input"] else PLAIN).format(**row)
    ids = tokenizer(prompt + row["output"])["input_ids"][: o["cutoff_len"]]
    if ids[-1] != tokenizer.eos_token_id and len(ids) < o["cutoff_len"]:
        ids.append(tokenizer.eos_token_id)
    labels = list(ids)
    if not o["train_on_inputs"]:
        masked = min(len(tokenizer(prompt)["input_ids"]), len(ids))
        labels[:masked] = [-100] * masked
    return ids, labels


def rate(step, o):
    if step < o["warmup_steps"]:
        return o["lr"] * (step + 1) / o["warmup_steps"]
    u = (step - o["warmup_steps"]) / max(1, o["max_steps"] - o["warmup_steps"])
    return o["lr"] * {"constant": 1.0, "linear": 1 - u, "cosine": 0.5 * (1 + math.cos(math.pi * u))}[o["lr_scheduler"]]


def wrap(model, o):
    if o["method"] == "full":
        return model
    rslora = o["method"] == "rora" or o["method"] == "dora" and o["scaling"] == "rora"
    return peft.get_peft_model(model, peft.LoraConfig(
        r=o["rank"], lora_alpha=o["alpha"], use_rslora=rslora, use_dora=o["method"] == "dora", bias="none",
        rank_pattern=o["rank_pattern"], alpha_pattern=o["alpha_pattern"], target_modules=o["target_modules"],
        init_lora_weights="pissa" if o["init"] == "pissa" else True, task_type="CAUSAL_LM"))


def tidy(adapter):  # nothing that depends on the machine or on the order of a Python set
    (adapter / "README.md").unlink(missing_ok=True)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "model"
    config["target_modules"] = sorted(config["target_modules"])
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def train(folder, o, rows):
    torch.manual_seed(42)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[o["dtype"]]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
    model.config.use_cache = False
    model = wrap(model, o)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    for _, parameter in named:
        parameter.data = parameter.data.float()
    if o["method"] != "full" and o["init"] != "pissa":
        model.save_pretrained(folder / "init")
        tidy(folder / "init")
    sequences = [sequence(tokenizer, r, o) for r in rows]
    positions = [1, len(sequences[0][0]) // 2, len(sequences[0][0]) - 1]

    def logits():
        with torch.no_grad():
            out = model(input_ids=torch.tensor([sequences[0][0]])).logits[0].float()
        return [[float(f"{v:.7g}") for v in out[p].tolist()] for p in positions]

    before, slow = logits(), lambda n: o["method"] == "full" or "lora_A" in n
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in named if slow(n)], "ratio": 1.0},
         {"params": [p for n, p in named if not slow(n)], "ratio": o["lora_plus_ratio"]}],
        lr=o["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=o["weight_decay"])
    steps, cursor = [], 0
    model.train()
    for step in range(o["max_steps"]):
        batch = [sequences[(cursor + i) % len(rows)] for i in range(o["batch_size"])]
        cursor += o["batch_size"]
        supervised, total = sum(l != -100 for _, labels in batch for l in labels[1:]), 0.0
        for ids, labels in batch:
            out = model(input_ids=torch.tensor([ids])).logits[0].float()
            loss = torch.nn.functional.cross_entropy(out[:-1], torch.tensor(labels[1:]), ignore_index=-100,
                                                     reduction="sum") / max(1, supervised)
            loss.backward()
            total += float(loss.detach())
        clip = o["max_grad_norm"] or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_([p for _, p in named], clip))
        for group in optimizer.param_groups:
            group["lr"] = rate(step, o) * group["ratio"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps.append({"step": step + 1, "loss": total, "grad_norm": norm, "lr": rate(step, o),
                      "tokens": sum(len(ids) for ids, _ in batch), "supervised_tokens": supervised})
    model.eval()
    return {"steps": steps, "first_sequence": {"input_ids": sequences[0][0], "labels": sequences[0][1]},
            "positions": positions, "logits_before": before, "logits_after": logits()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_case(name):
    model_options, run_options = CASES[name]
    folder, rows, options = HERE / name, make_rows(), RUN | run_options
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    make_model(folder / "model", BASE | model_options, rows)
    result = train(folder, options, rows)
    files = {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    golden = {"command": f"make_golden.py {name}", "seeds": {"model": 11, "adapter": 42}, "options": options,
              "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft, tokenizers)},
              "sha256": files, **result}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    losses = [s["loss"] for s in result["steps"]]
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) // 1024
    empty = sum(s["supervised_tokens"] == 0 for s in result["steps"])
    print(f"{name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, {empty} empty steps, {size} KiB", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        make_case(case)

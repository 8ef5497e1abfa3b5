"""Trains an adapter with PyTorch + PEFT in one plain loop and writes a JSON line for every step:
loss, seconds, tokens (without padding), supervised_tokens and the peak resident set so far, rss_mib.

    train_peft.py MODEL_DIR ROWS OUT.jsonl --init ADAPTER_DIR [--dtype bf16] [--max-steps 10] ..

The model is loaded in the type asked for, attention is PyTorch's fused one, a batch is padded to its
longest row, AdamW is the fused one, nothing is recomputed. Rows come in the file's order and are
tokenised before the first step. The adapter stays in float32, as PEFT keeps it.
"""
import argparse
import json
import os
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import rows

HEAD = "Below is an instruction that describes a task"
TASK = "Write a response that appropriately completes the request.\n\n### Instruction:\n"
WITHOUT_INPUT = HEAD + ". " + TASK + "{instruction}\n\n### Response:\n"
WITH_INPUT = (
    HEAD + ", paired with an input that provides further context. " + TASK
    + "{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
IGNORED = -100

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("rows")
parser.add_argument("out")
parser.add_argument("--init", required=True)
parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
parser.add_argument("--max-steps", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--cutoff-len", type=int, default=256)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--max-grad-norm", type=float, default=1.0)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--autocast", action="store_true", help="compute the adapter in bfloat16 too")
args = parser.parse_args()


def texts(row):
    """A row's prompt and response, by the templates that rora takes for such rows."""
    if "text" in row:
        return "", row["text"]
    if "prompt" in row:
        return row["prompt"], row["completion"]
    return (WITH_INPUT if row.get("input") else WITHOUT_INPUT).format(**row), row["output"]


def sequence(tokenizer, row):
    prompt, response = texts(row)
    ids = tokenizer(prompt + response)["input_ids"][: args.cutoff_len]
    if len(ids) < args.cutoff_len and ids[-1] != tokenizer.eos_token_id:
        ids.append(tokenizer.eos_token_id)
    given = min(len(ids), len(tokenizer(prompt)["input_ids"])) if prompt else 0
    return ids, [IGNORED] * given + ids[given:]


def padded(sequences):
    longest = max(len(ids) for ids, _ in sequences)

    def matrix(lines, filler):
        return torch.tensor([line + [filler] * (longest - len(line)) for line in lines])

    return {
        "input_ids": matrix([ids for ids, _ in sequences], 0),
        "labels": matrix([labels for _, labels in sequences], IGNORED),
        "attention_mask": matrix([[1] * len(ids) for ids, _ in sequences], 0),
    }


def peak_mib():
    for line in open("/proc/self/status", encoding="ascii"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status has no VmHWM: this needs Linux")


def fused_adamw(parameters):
    try:
        return torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0, fused=True)
    except RuntimeError:  # PyTorch before 2.4 has it for GPUs only
        return torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)


torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
tokenizer = AutoTokenizer.from_pretrained(args.model)
sequences = [sequence(tokenizer, row) for row in rows.read(args.rows)]
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
base = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa")
base.config.use_cache = False
model = PeftModel.from_pretrained(base, args.init, is_trainable=True)
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
assert all(p.dtype == torch.float32 for p in parameters)
optimizer = fused_adamw(parameters)

with open(args.out, "w", encoding="utf-8") as out:
    for step in range(args.max_steps):
        begin = time.perf_counter()
        first = step * args.batch_size
        batch = [sequences[(first + i) % len(sequences)] for i in range(args.batch_size)]
        with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
            loss = model(**padded(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, args.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * (1 - step / args.max_steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        line = {
            "step": step + 1,
            "loss": float(loss.detach()),
            "seconds": time.perf_counter() - begin,
            "tokens": sum(len(ids) for ids, _ in batch),
            "supervised_tokens": sum(l != IGNORED for _, labels in batch for l in labels[1:]),
            "rss_mib": peak_mib(),
        }
        out.write(json.dumps(line) + "\n")
        out.flush()

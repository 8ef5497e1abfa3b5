#!/usr/bin/env python3
"""Writes golden.json beside it: a random model and what transformers makes of rows.json with it, in float32.

    make_golden.py

choice, cloze   the score of each label of each row
nll             sum of cross entropies and number of tokens of each row: response and end token after the alpaca prompt
greedy, beams   ids after the alpaca prompt, the end token left out; for beams every 9th id of the vocabulary is an end,
                so that searches end early and late
Needs torch and transformers 5.
"""
import json
import re
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
TOKENIZER = HERE.parent / "lora-linear-bias" / "model"
ALPACA = ("Below is an instruction that describes a task{more}. Write a response that appropriately completes the "
          "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n")

torch.manual_seed(0)
tok = AutoTokenizer.from_pretrained(TOKENIZER)
config = LlamaConfig(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                     num_key_value_heads=2, max_position_embeddings=320, tie_word_embeddings=False,
                     bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id,
                     initializer_range=0.4)  # large, so that what it says varies
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(MODEL)
tok.save_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
rows = json.loads((HERE / "rows.json").read_text())
ends = list(range(5, model.config.vocab_size, 9))


def alpaca(row):
    given = row.get("input", "")
    return ALPACA.format(instruction=row["instruction"], input=f"### Input:\n{given}\n\n" if given else "",
                         more=", paired with an input that provides further context" if given else "")


def log_p(ids, begin):
    with torch.no_grad():
        table = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return [float(table[t - 1, ids[t]]) for t in range(max(begin, 1), len(ids))]


def score(prompt, candidate):
    return sum(log_p(tok(prompt + candidate)["input_ids"], len(tok(prompt)["input_ids"])))


def labels(row):
    return row["instruction"].split("Answer format:")[1].strip().split("/")


def cloze(row):
    body = row["instruction"].split("Answer format:")[0]
    hits = [re.search(r"(?:^|\s)(" + re.escape(label) + ": )", body, re.I) for label in labels(row)]
    if not any(hits):
        first, texts = len(body), labels(row)
    else:
        begins = [hit.start(1) for hit in hits]
        first = min(begins)
        texts = [body[hit.end(1):min([b for b in begins if b >= hit.end(1)], default=len(body))].strip() for hit in hits]
    question = body[:first].split(": ", 1)[1].strip()
    prompt = f"Question: {question}\nAnswer:"
    return [score(prompt, " " + text) / len(text.encode()) for text in texts]


def nll(row):
    ids = tok(alpaca(row) + row["output"])["input_ids"] + [tok.eos_token_id]
    values = log_p(ids, len(tok(alpaca(row))["input_ids"]))
    return [-sum(values), len(values)]


def generate(row, beams, new, stops):
    ids = tok(alpaca(row), return_tensors="pt")
    out = model.generate(**ids, num_beams=beams, max_new_tokens=new, do_sample=False, eos_token_id=stops, pad_token_id=0,
                         length_penalty=1.0, early_stopping=False)[0, ids["input_ids"].shape[1]:].tolist()
    for t, i in enumerate(out):
        if i in stops:
            return out[:t]
    return out


result = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "ends": ends, "rows": []}
for row in rows:
    result["rows"].append({
        "prompt_ids": tok(alpaca(row))["input_ids"],
        "choice": [score(alpaca(row), "the correct answer is " + label) for label in labels(row)],
        "cloze": cloze(row), "nll": nll(row), "greedy": generate(row, 1, 24, [tok.eos_token_id]),
        "beams": {f"{beams},{new}": generate(row, beams, new, ends) for beams in (2, 4, 5) for new in (1, 6, 20)},
    })
(HERE / "golden.json").write_text(json.dumps(result) + "\n")

"""Times how transformers reads a prompt and generates after it, greedily, and prints what
GenerateSpeed.java prints for rora.

    generate_transformers.py MODEL_DIR fp32|bf16 IDS_FILE NEW_TOKENS RUNS OUT.jsonl

The first run warms up. Attention is PyTorch's fused one, keys and values are cached.
"""
import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class Clock(BaseStreamer):
    """Notes when each token comes; the first call is for the prompt, before the model reads it."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.perf_counter())

    def end(self):
        pass


path, dtype, ids_file, new_tokens, runs, out_file = sys.argv[1:]
torch.set_num_threads(len(os.sched_getaffinity(0)))
types = {"fp32": torch.float32, "bf16": torch.bfloat16}
model = AutoModelForCausalLM.from_pretrained(path, dtype=types[dtype], attn_implementation="sdpa").eval()
with open(ids_file, encoding="ascii") as file:
    ids = torch.tensor([[int(word) for word in file.read().split()]])

with open(out_file, "w", encoding="utf-8") as out:
    for run in range(int(runs) + 1):
        clock = Clock()
        tokens = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=int(new_tokens),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=0,
            streamer=clock,
        )[0].tolist()
        begin, first, last = clock.times[0], clock.times[1], clock.times[-1]
        line = {
            "prompt_seconds": first - begin,
            "seconds": last - first,
            "passes": len(clock.times) - 2,
            "ids": tokens[ids.shape[1]:],
        }
        if run > 0:
            out.write(json.dumps(line) + "\n")

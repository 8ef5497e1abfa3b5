"""Writes a prompt of exactly so many tokens as ids, separated by spaces.

    make_prompt.py MODEL_DIR OUT LENGTH [--text FILE]
"""
import argparse
import itertools

from transformers import AutoTokenizer

import words

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("length", type=int)
parser.add_argument("--text")
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.model)
if args.text:
    with open(args.text, encoding="utf-8") as file:
        text = file.read(args.length * 20)
else:
    text = " ".join(itertools.islice(words.text(4), args.length))
ids = tokenizer(text)["input_ids"][: args.length]
if len(ids) < args.length:
    raise SystemExit(f"{args.text} has {len(ids)} tokens: the prompt is to have {args.length}")
with open(args.out, "w", encoding="ascii") as out:
    out.write(" ".join(map(str, ids)))

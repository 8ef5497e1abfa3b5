"""Writes rows to train on, as JSONL, that take so many tokens with the model's tokenizer.

    make_rows.py MODEL_DIR OUT.jsonl equal|natural --rows N [--length 128] [--data FILE.json]

equal     {"text": ..}: at least LENGTH tokens each, so that a run cut at LENGTH has rows of exactly
          that; every token is learned.
natural   {"prompt": .., "completion": ..}: 80 + e^(3.4 + 0.6 z) tokens, z normal, at most 256; the last
          8 of them, the end token among them, are the response, which alone is learned. These are the
          lengths of ARC-Easy's questions as instructions (mean 115, 90 % between 91 and 154, response
          of 7 tokens and the end): short answers, lengths that differ.

With --data, the texts of equal rows are those of the file's rows, one after the other.
"""
import argparse
import json
import math
import random

from transformers import AutoTokenizer

import rows
import words

FEWEST, LOG_MEDIAN, LOG_SIGMA, MOST, RESPONSE = 80, 3.4, 0.6, 256, 8

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("lengths", choices=["equal", "natural"])
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--length", type=int, default=128)
parser.add_argument("--data")
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.model)


def tokens(text):
    return len(tokenizer(text)["input_ids"])


def pieces():
    if args.data:
        while True:
            for row in rows.read(args.data):
                for value in row.values():
                    if isinstance(value, str):
                        yield from value.split()
    yield from words.text(1)


source = pieces()


def take(length):
    """Text of at least so many tokens, each word after a space, and hardly more."""
    text = ""
    while (missing := length - tokens(text)) > 0:
        # Few words have more than four tokens, so this does not overshoot by much.
        text += "".join(" " + next(source) for _ in range(max(1, missing // 4)))
    return text


rng = random.Random(2)
with open(args.out, "w", encoding="utf-8") as out:
    for _ in range(args.rows):
        if args.lengths == "equal":
            row = {"text": take(args.length)}
        else:
            length = min(MOST, FEWEST + round(math.exp(rng.gauss(LOG_MEDIAN, LOG_SIGMA))))
            row = {"prompt": take(length - RESPONSE), "completion": take(RESPONSE - 1)}
        out.write(json.dumps(row) + "\n")

"""Writes the adapter that both sides start from, as PEFT makes and saves it.

    make_adapter.py MODEL_DIR OUT_DIR [--rank 32] [--alpha 64]
"""
import argparse

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("out")
parser.add_argument("--rank", type=int, default=32)
parser.add_argument("--alpha", type=float, default=64)
args = parser.parse_args()

torch.manual_seed(3)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
config = LoraConfig(
    r=args.rank,
    lora_alpha=args.alpha,
    use_rslora=True,
    target_modules=["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
    lora_dropout=0.0,
    bias="none",
    task_type="CAUSAL_LM",
)
get_peft_model(model, config).save_pretrained(args.out)

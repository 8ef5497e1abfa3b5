"""Writes a LLaMA checkpoint with random weights in Hugging Face layout, by default of SmolLM2-135M's
shape, with a byte-level BPE tokenizer that knows the words of words.py, each as one token.

    make_model.py OUT_DIR [--layers 30 --hidden 576 ...]

Speed and memory do not depend on the values of the weights, so no download is needed.
"""
import argparse

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import words

parser = argparse.ArgumentParser()
parser.add_argument("out")
parser.add_argument("--hidden", type=int, default=576)
parser.add_argument("--layers", type=int, default=30)
parser.add_argument("--heads", type=int, default=9)
parser.add_argument("--kv-heads", type=int, default=3)
parser.add_argument("--inner", type=int, default=1536)
parser.add_argument("--vocabulary", type=int, default=49152)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    (" " + word for word in words.VOCABULARY),
    trainers.BpeTrainer(
        vocab_size=args.vocabulary,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
).save_pretrained(args.out)

torch.manual_seed(args.seed)
model = LlamaForCausalLM(
    LlamaConfig(
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        intermediate_size=args.inner,
        vocab_size=args.vocabulary,
        max_position_embeddings=8192,
        rope_theta=100000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
)
# bfloat16, as such models are published: both sides widen it for fp32.
model.to(torch.bfloat16).save_pretrained(args.out)
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters", flush=True)

#!/usr/bin/env python3
"""Makes the files beside it: small tokenizers as Hugging Face directories and as GGUF files without tensors, and what
transformers and sentencepiece make of a few texts and rows.

    make_golden.py      (needs tokenizers, transformers, sentencepiece, gguf)
"""
import hashlib, json, os, shutil, sys, tempfile
import gguf, sentencepiece, tokenizers, transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = [
    "The quick brown fox jumps over the lazy dog; it didn't see the dog's 12345 bones, they'll say.",
    "Please choose the correct answer to the question: what is the colour of the sea?\n\nAnswer1: blue Answer2: red\n\n"
    "Answer format: answer1/answer2\nthe correct answer is answer1",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "naïve café, Übergröße — 3.14159 € 日本語 日本 한국어 عربى हिन्दी 😀😀 CamelCase HTTPServer iPhone\tTab\r\n\r\n  two  spaces   ",
    "for (int i = 0; i < 100; i++) { x[i] += y_i; } // == != ->",
] * 3
TEXTS = CORPUS[:5] + [
    "", " ", "  ", "\n", " leading", "trailing ", "\n\n \t x", "a\0b", "a  1  22  333  4444 55555", "It's I'M we'LL DON'T 'S \u017f's",
    "e\u0301 é ﬁ Å", "👨‍👩‍👧‍👦 \u200b\ufeff", "١٢٣٤٥ ½ Ⅷ ²", "<s>hi</s> <unk> <|im_end|> a<|im_end|>\nb  c FOO_BARx FOO_BAR", "=" * 37 + " " * 41,
    "\u2581hi \u2581\u2581 x", "<0x0A>", "\U0010ffff\ue000\u0378 ǅ ʰ", "x\u00a0y\u3000z\u2028w\u0085v", "\ufffd", "word " * 700]
ROWS = [
    {"instruction": "Name the colour of the sea.", "input": "", "output": "blue"},
    {"instruction": "Name the colour.", "input": "the sea", "output": "It is blue.\n"},
    {"instruction": "Say the end token {x} %s.", "input": "", "output": "done</s>"},
    {"instruction": "Say nothing.", "input": "", "output": ""},
    {"instruction": "Say naïve 日本 😀.", "input": " ", "output": " naïve 日本 😀"}]
PROMPT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
          "### Instruction:\n{instruction}\n\n### Response:\n")
PROMPT_INPUT = ("Below is an instruction that describes a task, paired with an input that provides further context. "
                "Write a response that appropriately completes the request.\n\n"
                "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
sequence_of = pre_tokenizers.Sequence
bytes_of = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
split = lambda regex: pre_tokenizers.Split(Regex(regex), "isolated")
digits = lambda: pre_tokenizers.Digits(individual_digits=True)
PRE = {"gpt-2": bytes_of(True), "smollm": sequence_of([digits(), bytes_of(True)]),
       "llama-bpe": sequence_of([split(LLAMA3), bytes_of(False)]),
       "qwen2": sequence_of([split(LLAMA3.replace("{1,3}", "")), bytes_of(False)]),
       "tekken": sequence_of([split(TEKKEN), bytes_of(False)]),
       "deepseek-coder": sequence_of([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                      split("[一-龥ࠀ-一가-퟿]+"), digits(), bytes_of(False)]),
       "default": sequence_of([split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), bytes_of(False)])}
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def write_gguf(name, model, pre, tokens, types, **extra):
    w = gguf.GGUFWriter(os.path.join(HERE, name + ".gguf"), "llama")
    w.add_tokenizer_model(model)
    if pre != "default":
        w.add_tokenizer_pre(pre)
    w.add_token_list(tokens); w.add_token_types(types)
    for key, value in extra.items():
        getattr(w, "add_" + key)(value)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


def sequences(tok, cutoff, train_on_inputs):  # as PEFT users write it; the end token once, and only if it fits
    result = []
    for row in ROWS:
        prompt = (PROMPT_INPUT if row.get("input") else PROMPT).format(**row)
        ids = tok(prompt + row["output"])["input_ids"][:cutoff]
        if ids[-1] != tok.eos_token_id and len(ids) < cutoff:
            ids.append(tok.eos_token_id)
        labels = list(ids)
        if not train_on_inputs:
            n = len(tok(prompt)["input_ids"])
            labels[:n] = [-100] * min(n, len(labels))
        result.append({"ids": ids, "labels": labels})
    return result


def case(tok):
    return {"ids": [tok(t)["input_ids"] for t in TEXTS],
            "text": [tok.decode(tok(t)["input_ids"], skip_special_tokens=True) for t in TEXTS],
            "bos": tok.bos_token_id, "eos": tok.eos_token_id,
            "sequences": [{"cutoff": c, "train_on_inputs": t, "rows": sequences(tok, c, t)} for c in (20, 97, 256) for t in (False, True)]}


def byte_level(pre):
    ignore = pre in ("llama-bpe", "tekken")
    tok = Tokenizer(models.BPE(ignore_merges=ignore))
    tok.normalizer = normalizers.NFC() if pre == "qwen2" else None
    tok.pre_tokenizer, tok.decoder = PRE[pre], decoders.ByteLevel()
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_tokens([AddedToken("FOO_BAR", normalized=False), AddedToken("  ", normalized=False)])
    if ignore:
        tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    folder = os.path.join(HERE, pre)
    PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                            pad_token="<unk>").save_pretrained(folder)
    stored = json.load(open(os.path.join(folder, "tokenizer.json")))
    names = {i: t for t, i in stored["model"]["vocab"].items()}
    kinds = {}
    for t in stored["added_tokens"]:
        names[t["id"]], kinds[t["id"]] = t["content"], CONTROL if t["special"] else USER
    every = range(len(names) + 3)
    write_gguf(pre, "gpt2", pre, [names.get(i, f"[PAD{i}]") for i in every],
               [kinds.get(i, NORMAL if i in names else UNUSED) for i in every],
               token_merges=[m if isinstance(m, str) else " ".join(m) for m in stored["model"]["merges"]],
               bos_token_id=1, eos_token_id=2, unk_token_id=0, pad_token_id=0, eot_token_id=3)
    result = case(AutoTokenizer.from_pretrained(folder))
    if pre not in ("smollm", "llama-bpe"):
        shutil.rmtree(folder)
    return result


def sentence_piece():
    with tempfile.TemporaryDirectory() as folder:
        text, prefix = os.path.join(folder, "text"), os.path.join(folder, "spm")
        open(text, "w").write("\n".join(t.replace("\n", " ") for t in CORPUS))
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=prefix, model_type="bpe", vocab_size=450, byte_fallback=True, normalization_rule_name="identity",
            remove_extra_whitespaces=False, character_coverage=0.98, num_threads=1, minloglevel=2)
        sp = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    every = range(sp.vocab_size())
    write_gguf("spm", "llama", "default", [sp.id_to_piece(i) for i in every],
               [UNKNOWN if sp.is_unknown(i) else CONTROL if sp.is_control(i) else BYTE if sp.is_byte(i) else NORMAL for i in every],
               token_scores=[sp.get_score(i) for i in every], bos_token_id=1, eos_token_id=2, unk_token_id=0)
    plain = [None if "<s>" in t else [1] + sp.encode(t) for t in TEXTS]  # sentencepiece takes no special token from a text
    return {"ids": plain, "text": [None if p is None else sp.decode(p[1:]) for p in plain], "bos": 1, "eos": 2, "sequences": []}


cases = {pre: byte_level(pre) for pre in PRE}
cases["spm"] = sentence_piece()
digest = lambda f: hashlib.sha256(open(os.path.join(HERE, f), "rb").read()).hexdigest()
json.dump({"versions": {m.__name__: m.__version__ for m in (tokenizers, transformers, sentencepiece)}, "seed": None,
           "command": "make_golden.py", "sha256": {f"{c}.gguf": digest(f"{c}.gguf") for c in cases},
           "texts": TEXTS, "rows": ROWS, "cases": cases}, open(os.path.join(HERE, "golden.json"), "w"), separators=(",", ":"))

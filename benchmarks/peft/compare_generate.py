"""Generating with rora and with transformers, the same prompt: see ../compare-generate.sh."""
import argparse
import json
import os
import statistics

import compare
from compare import Failure, say


def options():
    parser = argparse.ArgumentParser(
        prog="compare-generate.sh",
        description="Reads one prompt and generates after it, greedily, with rora and with transformers, on "
        "all cores, and prints tokens/s of both parts for both sides, without the time to load the model. "
        "RORA_PYTHON names the Python that has transformers and PEFT.",
        epilog="Example: RORA_PYTHON=venv/bin/python benchmarks/compare-generate.sh --rounds 5")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side, alternating (3)")
    parser.add_argument("--runs", type=int, default=3, help="runs of a process, after one to warm up (3)")
    parser.add_argument("--prompt-tokens", type=int, default=512, help="length of the prompt (512)")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens to generate (64)")
    parser.add_argument("--dtypes", default="fp32,bf16", help="of fp32,bf16 (both)")
    parser.add_argument("--model", help="Hugging Face directory (random weights in SmolLM2-135M's shape)")
    parser.add_argument("--text", help="file whose beginning is the prompt (invented words)")
    parser.add_argument("--json", help="write all numbers to this file, too")
    args = parser.parse_args()
    args.dtypes = args.dtypes.split(",")
    if not set(args.dtypes) <= {"fp32", "bf16"}:
        parser.error(f"--dtypes {','.join(args.dtypes)}: takes fp32,bf16")
    compare.require_input(parser, args.model, args.text)
    if min(args.rounds, args.runs, args.prompt_tokens) < 1 or args.new_tokens < 8:
        parser.error("needs --rounds, --runs and --prompt-tokens of at least 1, --new-tokens of at least 8")
    return args


class Comparison(compare.Comparison):
    def __init__(self, args, folder):
        super().__init__(args, folder)
        self.ids = self.path("ids")

    def prepare(self):
        self.make_model()
        text = ["--text", self.args.text] if self.args.text else []
        compare.run(
            compare.python("make_prompt.py", self.model, self.ids, self.args.prompt_tokens, *text),
            self.path("log"))

    def transformers(self, dtype):
        out = self.path("transformers.jsonl")
        compare.run(
            compare.python("generate_transformers.py", self.model, dtype, self.ids, self.args.new_tokens,
                           self.args.runs, out),
            self.path("log"))
        return compare.read_lines(out)

    def rora(self, dtype):
        # ./rora has built the jar when the machine was described.
        jar = os.path.join(os.path.dirname(compare.RORA), "java", "cli", "target", "rora.jar")
        java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
        out = self.path("rora.jsonl")
        compare.run(
            [java, f"-Dorg.bytedeco.javacpp.cachedir={self.path('javacpp')}", "-cp", jar,
             os.path.join(compare.HERE, "GenerateSpeed.java"), self.model,
             {"fp32": "F32", "bf16": "BF16"}[dtype], self.ids, str(self.args.new_tokens),
             str(self.args.runs)],
            self.path("log"), out)
        return compare.read_lines(out)

    def case(self, dtype):
        rounds = []
        for i in range(self.args.rounds):
            both = {}
            for side in ("transformers", "rora") if i % 2 == 0 else ("rora", "transformers"):
                both[side] = [self.with_speeds(side, dtype, run) for run in getattr(self, side)(dtype)]
            rounds.append(both)
            say(f"{dtype}, round {i + 1}: " + ", ".join(
                f"{side} {median(runs, 'prompt'):.0f} and {median(runs, 'generated'):.1f} tokens/s"
                for side, runs in sorted(both.items())))
        return self.summary(dtype, rounds)

    def with_speeds(self, side, dtype, run):
        if run["passes"] < self.args.new_tokens // 2:
            raise Failure(f"{dtype}: {side} ends after {len(run['ids'])} tokens, too few to time: give "
                          "another --text that the model goes on with")
        run["prompt"] = self.args.prompt_tokens / run["prompt_seconds"]
        run["generated"] = run["passes"] / run["seconds"]
        return run

    def summary(self, dtype, rounds):
        ours, theirs = rounds[0]["rora"][0]["ids"], rounds[0]["transformers"][0]["ids"]
        agreeing = 0
        while agreeing < min(len(ours), len(theirs)) and ours[agreeing] == theirs[agreeing]:
            agreeing += 1
        result = {"dtype": dtype, "rounds": rounds, "agreeing_tokens": agreeing}
        for part in ("prompt", "generated"):
            result[part] = {
                side: statistics.median(median(r[side], part) for r in rounds)
                for side in ("rora", "transformers")}
            result[part]["ratio"] = compare.median_ratio(
                [(median(r["rora"], part), median(r["transformers"], part)) for r in rounds])
            fastest = {
                side: max(run[part] for r in rounds for run in r[side]) for side in ("rora", "transformers")}
            result[part]["fastest_ratio"] = fastest["rora"] / fastest["transformers"]
        return result


def median(runs, part):
    return statistics.median(run[part] for run in runs)


def show(args, host, cases):
    print(compare.describe(host))
    shape = args.model or "random weights in SmolLM2-135M's shape"
    print(f"{shape}; a prompt of {args.prompt_tokens} tokens, {args.new_tokens} new ones; {args.rounds} "
          f"rounds of {args.runs} runs")
    rows = []
    for c in cases:
        for part in ("prompt", "generated"):
            p = c[part]
            rows.append([
                f"{c['dtype']} {part}", f"{p['rora']:.1f}", f"{p['transformers']:.1f}",
                f"{p['ratio']['median']:.2f}", f"{p['ratio']['min']:.2f}..{p['ratio']['max']:.2f}",
                f"{p['fastest_ratio']:.2f}", f"{c['agreeing_tokens']}"])
    print()
    compare.table(["", "tok/s rora", "transformers", "ratio", "min..max", "fastest", "same ids"], rows)
    print("""
tok/s: of the prompt up to the first token, and of the tokens after it; medians. ratio: rora over
transformers, of the same round; fastest: of the fastest runs. same ids: leading tokens that agree; two
logits that are nearly equal part them.""")


def body(args, folder):
    host = compare.machine()
    comparison = Comparison(args, folder)
    comparison.prepare()
    cases = [comparison.case(dtype) for dtype in args.dtypes]
    show(args, host, cases)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"machine": host, "options": vars(args), "cases": cases}, out, indent=1)


if __name__ == "__main__":
    compare.main(options, body)

"""Fine-tuning with rora and with PyTorch + PEFT, the same work: see ../compare-peft.sh."""
import argparse
import json
import os
import re
import shutil
import statistics

import compare
from compare import Failure, say

# The losses of both sides follow each other; where they do not, the work is not the same.
DRIFT = {"fp32": 1e-3, "bf16": 2e-2}
FIRST_STEPS = 3
SMOOTHED = 3  # steps whose mean is the loss that "seconds to the same loss" looks at
EQUAL, MOST = 128, 256


def options():
    parser = argparse.ArgumentParser(
        prog="compare-peft.sh",
        description="Trains one adapter with rora and with PyTorch + PEFT, from the same tensors on the "
        "same rows in the same order, on all cores, and prints tokens/s (without padding), seconds to the "
        "same loss and peak resident set of both. RORA_PYTHON names the Python that has PEFT.",
        epilog="Example: RORA_PYTHON=venv/bin/python benchmarks/compare-peft.sh --rounds 5 --json peft.json")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, alternating (3)")
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps of a run (10)")
    parser.add_argument("--warmup", type=int, default=2, help="first steps that no speed counts (2)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows of a step (8)")
    parser.add_argument("--rank", type=int, default=32, help="rank of the RoRA adapter (32)")
    parser.add_argument("--alpha", type=float, default=64, help="numerator of its scaling (64)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate, falling linearly (1e-3)")
    parser.add_argument("--dtypes", default="fp32,bf16", help="of fp32,bf16 (both)")
    parser.add_argument("--lengths", default="equal,natural", help="equal: 128 tokens a row, all learned; "
                        "natural: lengths of instruction data, responses learned (both)")
    parser.add_argument("--model", help="Hugging Face directory (random weights in SmolLM2-135M's shape)")
    parser.add_argument("--data", help="JSON or JSONL rows of natural length (drawn, see make_rows.py)")
    parser.add_argument("--peft-adapter", choices=["fp32", "bf16"], default="fp32",
                        help="what PEFT multiplies its adapter in when the model is bf16: fp32 is its "
                        "default, bf16 is torch.autocast (fp32)")
    parser.add_argument("--json", help="write all numbers to this file, too")
    args = parser.parse_args()
    if not (args.rounds >= 1 and 0 <= args.warmup < args.steps and args.steps >= SMOOTHED):
        parser.error(f"needs --rounds of at least 1, --steps of at least {SMOOTHED} and fewer --warmup")
    compare.require_input(parser, args.model, args.data)
    for name, allowed in (("dtypes", "fp32 bf16"), ("lengths", "equal natural")):
        chosen = getattr(args, name).split(",")
        if not set(chosen) <= set(allowed.split()):
            parser.error(f"--{name} {getattr(args, name)}: takes {allowed.replace(' ', ',')}")
        setattr(args, name, chosen)
    return args


class Comparison(compare.Comparison):
    def __init__(self, args, folder):
        super().__init__(args, folder)
        self.adapter = self.path("init")

    def prepare(self):
        a = self.args
        self.make_model()
        say("making rows and the adapter to start from")
        for lengths in a.lengths:
            if lengths == "natural" and a.data:
                continue
            data = ["--data", a.data] if a.data else []
            compare.run(
                compare.python("make_rows.py", self.model, self.rows(lengths), lengths, "--length", EQUAL,
                               "--rows", a.steps * a.batch_size, *data),
                self.path("log"))
        compare.run(
            compare.python("make_adapter.py", self.model, self.adapter, "--rank", a.rank, "--alpha", a.alpha),
            self.path("log"))

    def rows(self, lengths):
        if lengths == "natural" and self.args.data:
            return self.args.data
        return self.path(lengths + ".jsonl")

    def common(self, lengths, dtype):
        a = self.args
        cutoff = EQUAL if lengths == "equal" else MOST
        return ["--dtype", dtype, "--max-steps", a.steps, "--batch-size", a.batch_size, "--cutoff-len", cutoff,
                "--lr", a.lr, "--max-grad-norm", 1]

    def peft(self, lengths, dtype):
        out = self.path("peft.jsonl")
        autocast = ["--autocast"] if dtype == "bf16" and self.args.peft_adapter == "bf16" else []
        peak = compare.run(
            compare.python("train_peft.py", self.model, self.rows(lengths), out, "--init", self.adapter,
                           *self.common(lengths, dtype), *autocast),
            self.path("log"))
        return {"peak_mib": peak, "steps": compare.read_lines(out)}

    def rora(self, lengths, dtype):
        out = self.path("run")
        shutil.rmtree(out, ignore_errors=True)
        command = [compare.RORA, "train", "--model", self.model, "--data", self.rows(lengths), "--out", out,
                   "--init-adapter", self.adapter, "--no-shuffle", "--lr-scheduler", "linear",
                   *self.common(lengths, dtype)]
        peak = compare.run(list(map(str, command)), self.path("log"))
        return {
            "peak_mib": peak,
            "estimate_mib": self.estimate(),
            "steps": compare.read_lines(os.path.join(out, "metrics.jsonl")),
        }

    def estimate(self):
        """rora says before the first step what memory it expects to take."""
        with open(self.path("log"), encoding="utf-8") as log:
            said = re.search(r"about ([0-9.]+) GB of memory", log.read())
        if not said:
            raise Failure("rora train no longer says how much memory it expects to take")
        return float(said[1]) * 1e9 / 2**20

    def case(self, lengths, dtype):
        """All rounds of one kind of rows in one type."""
        rounds = []
        for i in range(self.args.rounds):
            both = {}
            for side in ("peft", "rora") if i % 2 == 0 else ("rora", "peft"):
                both[side] = getattr(self, side)(lengths, dtype)
            self.check(lengths, dtype, both)
            speeds = {side: self.speed(both[side]) for side in both}
            say(f"{lengths} {dtype}, round {i + 1}: rora {speeds['rora']:.0f} tokens/s, "
                f"peft {speeds['peft']:.0f} tokens/s")
            rounds.append(both)
        return self.summary(lengths, dtype, rounds)

    def check(self, lengths, dtype, both):
        """The work is the same: tokens, and losses within what rounding explains."""
        for ours, theirs in zip(both["rora"]["steps"], both["peft"]["steps"], strict=True):
            step = ours["step"]
            for count in ("tokens", "supervised_tokens"):
                if ours[count] != theirs[count]:
                    raise Failure(f"{lengths} {dtype}, step {step}: rora has {ours[count]} {count}, PEFT "
                                  f"{theirs[count]}: the rows are not the same")
            drift = abs(ours["loss"] - theirs["loss"]) / abs(theirs["loss"])
            if step <= FIRST_STEPS and not drift <= DRIFT[dtype]:
                raise Failure(f"{lengths} {dtype}, step {step}: rora's loss is {ours['loss']}, PEFT's "
                              f"{theirs['loss']}, {drift:.1e} apart where {DRIFT[dtype]:.0e} is the most: "
                              "the work is not the same")

    def speed(self, side):
        steps = side["steps"][self.args.warmup:]
        return sum(s["tokens"] for s in steps) / sum(s["seconds"] for s in steps)

    def summary(self, lengths, dtype, rounds):
        result = {"lengths": lengths, "dtype": dtype, "rounds": rounds}
        first = rounds[0]["rora"]["steps"]
        result["tokens_per_step"] = statistics.mean(s["tokens"] for s in first)
        result["supervised_tokens_per_step"] = statistics.mean(s["supervised_tokens"] for s in first)
        result["largest_loss_difference"] = max(
            abs(a["loss"] - b["loss"]) / abs(b["loss"])
            for r in rounds for a, b in zip(r["rora"]["steps"], r["peft"]["steps"]))
        target = max(min(smooth(r[side]["steps"])) for r in rounds for side in ("rora", "peft"))
        result["loss_reached"] = target
        for side in ("rora", "peft"):
            runs = [r[side] for r in rounds]
            counted = [s for run in runs for s in run["steps"][self.args.warmup:]]
            result[side] = {
                "tokens_per_second": statistics.median(self.speed(run) for run in runs),
                "tokens_per_second_fastest_step": max(s["tokens"] / s["seconds"] for s in counted),
                "seconds_to_loss": statistics.median(seconds_to(run["steps"], target) for run in runs),
                "peak_mib": statistics.median(run["peak_mib"] for run in runs),
            }
        result["rora"]["estimate_mib"] = rounds[0]["rora"]["estimate_mib"]
        result["speed_ratio"] = compare.median_ratio(
            [(self.speed(r["rora"]), self.speed(r["peft"])) for r in rounds])
        result["fastest_step_ratio"] = (
            result["rora"]["tokens_per_second_fastest_step"] / result["peft"]["tokens_per_second_fastest_step"])
        result["time_ratio"] = result["rora"]["seconds_to_loss"] / result["peft"]["seconds_to_loss"]
        result["peak_ratio"] = result["rora"]["peak_mib"] / result["peft"]["peak_mib"]
        result["estimate_over_peak"] = result["rora"]["estimate_mib"] / result["rora"]["peak_mib"]
        return result


def smooth(steps):
    """The means of the last few losses, from the first step that has so many."""
    losses = [s["loss"] for s in steps]
    return [statistics.mean(losses[i + 1 - SMOOTHED:i + 1]) for i in range(SMOOTHED - 1, len(losses))]


def seconds_to(steps, target):
    for i, loss in enumerate(smooth(steps)):
        if loss <= target:
            return sum(s["seconds"] for s in steps[:i + SMOOTHED])
    raise AssertionError(f"the loss {target} is reached by construction")


def show(args, host, cases):
    print(compare.describe(host))
    shape = args.model or "random weights in SmolLM2-135M's shape"
    print(f"{shape}; batch {args.batch_size}, rank {args.rank}, five targets; {args.rounds} rounds of "
          f"{args.steps} steps, {args.warmup} of them warm-up; PEFT's adapter in {args.peft_adapter}")
    header = ["rows", "dtype", "tokens", "learned", "tok/s rora", "peft", "ratio", "min..max", "fastest step",
              "to loss", "s rora", "s peft", "ratio", "MiB rora", "peft", "ratio", "estimate"]
    rows = []
    for c in cases:
        ours, theirs, speed = c["rora"], c["peft"], c["speed_ratio"]
        rows.append([
            c["lengths"], c["dtype"], f"{c['tokens_per_step']:.0f}", f"{c['supervised_tokens_per_step']:.0f}",
            f"{ours['tokens_per_second']:.0f}", f"{theirs['tokens_per_second']:.0f}", f"{speed['median']:.2f}",
            f"{speed['min']:.2f}..{speed['max']:.2f}", f"{c['fastest_step_ratio']:.2f}",
            f"{c['loss_reached']:.3f}", f"{ours['seconds_to_loss']:.1f}", f"{theirs['seconds_to_loss']:.1f}",
            f"{c['time_ratio']:.2f}", f"{ours['peak_mib']:.0f}", f"{theirs['peak_mib']:.0f}",
            f"{c['peak_ratio']:.2f}", f"{100 * (c['estimate_over_peak'] - 1):+.0f} %"])
    print()
    compare.table(header, rows)
    print(f"""
tokens, learned: of a step, padding left out. tok/s: medians of the rounds; ratio: rora over PEFT, of the
same round; fastest step: the ratio of the fastest steps, which other work disturbs least. to loss: the
mean of {SMOOTHED} steps that both reach, and the seconds of all steps up to there. MiB: peak resident set (VmHWM)
of the process. estimate: what rora expected before the first step, against its peak.
The losses differ by at most {max(c['largest_loss_difference'] for c in cases):.1e} (relative) at any step.""")


def body(args, folder):
    host = compare.machine()
    comparison = Comparison(args, folder)
    comparison.prepare()
    cases = [comparison.case(lengths, dtype) for lengths in args.lengths for dtype in args.dtypes]
    show(args, host, cases)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"machine": host, "options": vars(args), "cases": cases}, out, indent=1)


if __name__ == "__main__":
    compare.main(options, body)

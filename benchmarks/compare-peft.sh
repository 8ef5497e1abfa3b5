#!/usr/bin/env bash
# Whole-program comparison: makes the model, runs PyTorch + PEFT and rora on the same rows, prints
# tokens/s, seconds to the same loss and peak resident set of both, and the ratios.
#   benchmarks/compare-peft.sh [--rounds 3] [--json FILE] ..     (--help lists all)
# Needs Python with PEFT; RORA_PYTHON names it. All options: benchmarks/peft/compare_peft.py.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/peft/python.sh"
compare compare_peft.py "$@"

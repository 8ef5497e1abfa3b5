#!/usr/bin/env bash
# Whole-program comparison: the speed at which rora and transformers read a prompt and generate after
# it, on one model, and the ratios.
#   benchmarks/compare-generate.sh [--rounds 3] [--json FILE] ..     (--help lists all)
# Needs Python with transformers and PEFT; RORA_PYTHON names it. All options:
# benchmarks/peft/compare_generate.py.
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/peft/python.sh"
compare compare_generate.py "$@"

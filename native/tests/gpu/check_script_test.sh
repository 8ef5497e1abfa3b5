#!/usr/bin/env bash
# What benchmarks/gpu-check.sh says of machines, each a folder of stand-ins that is the whole PATH.
# Where something is missing it must name it, end with 1 and build nothing; where a step fails it
# must go on to the next and end with 1.
set -uo pipefail

here="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
script="$(cd "$here/../../.." && pwd)/benchmarks/gpu-check.sh"
scratch="$(mktemp -d)" || exit 1
trap 'rm -rf "$scratch"' EXIT
failed=0

# Every machine has these.
mkdir "$scratch/bare"
for tool in bash cat chmod cp dirname env grep head mkdir mktemp readlink rm sed sort tail tee \
  timeout; do
  ln -s "$(command -v "$tool")" "$scratch/bare/$tool"
done

tool() { # MACHINE NAME: the stand-in is read from standard input
  { printf '#!/bin/sh\n' && cat; } >"$scratch/$1/$2"
  chmod +x "$scratch/$1/$2"
}
machine() { cp -a "$scratch/${2:-bare}" "$scratch/$1"; }

expect() { # MACHINE CODE TEXT ARGS..: "!TEXT" must not be said
  local name="$1" code="$2" text="$3" output found
  shift 3
  output="$(env -i PATH="$scratch/$name" HOME="$scratch" RORA_CUDA_DEFAULT= bash "$script" \
    --build "$scratch/build" "$@" 2>&1)"
  found=$?
  if [[ $found -ne $code ]]; then
    printf '%s: exit code %d, expected %d; it says:\n%s\n' "$name" "$found" "$code" "$output"
    failed=1
  elif [[ "$text" == !* && "$output" == *"${text#!}"* ]] ||
    [[ "$text" != !* && "$output" != *"$text"* ]]; then
    printf '%s: expected "%s"; it says:\n%s\n' "$name" "$text" "$output"
    failed=1
  fi
  if [[ -e "$scratch/build" && ! -e "$scratch/$name/may_build" ]]; then
    printf '%s: something was built\n' "$name"
    failed=1
  fi
  rm -rf "$scratch/build"
}

# Every missing thing is named, not just the first.
for text in "no C++ compiler" "no cmake" "no nvcc" "finds no GPU" "nothing was built"; do
  expect bare 1 "$text"
done

machine old
tool old c++ </dev/null
tool old cmake <<<'echo cmake version 3.9.6'
tool old nvcc <<<'echo Cuda compilation tools, release 11.8, V11.8.89'
for text in "!no C++ compiler" "cmake is 3.9.6: install CMake 3.20" "nvcc is of CUDA 11.8"; do
  expect old 1 "$text"
done

# nvcc makes programs that say what the CUDA runtime would.
machine no_gpu old
tool no_gpu cmake <<<'echo cmake version 3.25.1'
tool no_gpu nvcc <<'END'
case "$1" in
  --version) echo Cuda compilation tools, release 12.4, V12.4.131 ;;
  --list-gpu-code) echo sm_80 && echo sm_90 ;;
  *) cp "${0%/*}/probe" "$4" ;;
esac
END
machine ancient no_gpu
machine newer no_gpu
machine cannot_compile no_gpu
tool no_gpu probe <<<'echo no CUDA-capable device is detected; exit 1'
expect no_gpu 1 'the CUDA runtime says "no CUDA-capable device is detected"'
expect no_gpu 1 "compute capability 8.0 or later"
tool ancient probe <<<'echo 75 Tesla T4'
expect ancient 1 "Tesla T4 has compute capability 7.5: rora needs 8.0"
tool newer probe <<<'echo 103 B300'
expect newer 1 "does not know sm_103"
expect cannot_compile 1 "cannot compile a small program"

# One that has all: each program of the build is a stand-in, too.
machine whole no_gpu
tool whole may_build </dev/null
tool whole probe <<<'echo 90 NVIDIA H100'
tool whole bench <<'END'
echo "{}" >"$2"
END
tool whole cmake <<'END'
case "$1" in
  --version) echo cmake version 3.25.1 ;;
  --build)
    mkdir -p "$2/tests/gpu" && cp "${0%/*}/bench" "$2/tests/gpu/rora_gpu_bench" || exit
    [ ! -e "${0%/*}/cannot_build" ]
    ;;
esac
END
tool whole ctest <<<'echo 14/14 Test: gpu_weight .. Passed'
machine sanitized whole
tool sanitized compute-sanitizer </dev/null
expect whole 0 "NVIDIA H100, sm_90; CUDA 12.4"
expect whole 0 "left out: it is not installed"
expect sanitized 0 "racecheck of swiglu: nothing found"
machine finding sanitized
tool finding compute-sanitizer <<<'exit 99'
expect finding 1 "memcheck of rmsnorm: FAILED (99)"
machine wrong whole
tool wrong ctest <<<'exit 8'
for text in "tests              FAILED" "times              ok"; do
  expect wrong 1 "$text"
done
machine skipped whole
tool skipped ctest <<<'echo 14/14 Test: gpu_weight ***Skipped'
expect skipped 1 "tests found no GPU"
machine unbuildable whole
tool unbuildable cannot_build </dev/null
expect unbuildable 1 "build              FAILED"
expect unbuildable 1 "!times"
machine slow whole
tool slow bench <<<'exit 1'
expect slow 1 "times              FAILED"

expect bare 2 "there is no option --fast" --fast
expect bare 2 "--json needs a value" --json
expect bare 0 "Checks the CUDA backend" --help

exit $failed

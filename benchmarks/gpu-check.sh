#!/usr/bin/env bash
# Checks the CUDA backend on this machine's GPU: builds it for that GPU, runs the operators' tests
# on it, some of them under compute-sanitizer where that is installed, and times every kernel at
# the shapes of LLaMA3-8B against cuBLASLt, a plain attention and the speed of a copy.
#   benchmarks/gpu-check.sh [--json FILE] [--build DIR]
# Needs an NVIDIA GPU with its driver, nvcc (CUDA 12 or later), CMake 3.20 and a C++ compiler; no
# Java, no network. Takes less than ten minutes. Exit code: 0 if all is well, 1 if something failed
# or is missing, 2 for wrong arguments.
# shellcheck disable=SC2317  # step() calls what it is told
set -uo pipefail

root="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)"
build="$root/build/gpu-check"
json=""
usage="usage: benchmarks/gpu-check.sh [--json FILE] [--build DIR]"

say() { printf '%s\n' "gpu-check: $*"; }
complain() { printf '%s\n' "gpu-check: $*" >&2; }

while [[ $# -gt 0 ]]; do
  case "$1" in
    --json | --build)
      if [[ $# -lt 2 ]]; then
        complain "$1 needs a value; $usage"
        exit 2
      fi
      if [[ "$1" == --json ]]; then json="$2"; else build="$2"; fi
      shift 2
      ;;
    --help | -h)
      sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      complain "there is no option $1; $usage"
      exit 2
      ;;
  esac
done
json="${json:-$build/gpu-check.json}"

# --- What is there

missing=0
lacks() {
  complain "$*"
  missing=1
}

# at_least FOUND WANTED: of versions as 3.20
at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

find_tool() { # NAME: in PATH, or where CUDA is installed
  local folder
  command -v "$1" 2>/dev/null && return
  for folder in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "${RORA_CUDA_DEFAULT-/usr/local/cuda}"; do
    if [[ -n "$folder" && -x "$folder/bin/$1" ]]; then
      printf '%s\n' "$folder/bin/$1"
      return
    fi
  done
  return 1
}

compiler=""
for candidate in "${CXX:-}" c++ g++ clang++; do
  if [[ -n "$candidate" ]] && command -v "$candidate" >/dev/null 2>&1; then
    compiler="$candidate"
    break
  fi
done
[[ -n "$compiler" ]] || lacks "there is no C++ compiler: install g++ 11 or later or set CXX"

if ! command -v cmake >/dev/null 2>&1; then
  lacks "there is no cmake: install CMake 3.20 or later"
else
  version="$(cmake --version | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')"
  at_least "$version" 3.20 || lacks "cmake is $version: install CMake 3.20 or later"
fi

nvcc="$(find_tool nvcc)" || nvcc=""
if [[ -z "$nvcc" ]]; then
  lacks "there is no nvcc: install the CUDA toolkit 12 or later, or name its folder in CUDA_HOME"
else
  version="$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
  at_least "$version" 12.0 || lacks "nvcc is of CUDA $version: install the toolkit 12 or later"
fi

# The GPU, as the CUDA runtime sees it; without nvcc or a compiler, as nvidia-smi does.
scratch="$(mktemp -d)" || exit 1
trap 'rm -rf "$scratch"' EXIT
architecture=""
gpu=""
if [[ $missing -eq 0 ]]; then
  cat >"$scratch/probe.cu" <<'END'
#include <cstdio>
int main() {
  cudaDeviceProp gpu;
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&gpu, 0);
  if (status != cudaSuccess) return std::puts(cudaGetErrorString(status)), 1;
  std::printf("%d%d %s\n", gpu.major, gpu.minor, gpu.name);
}
END
  if ! "$nvcc" -cudart static -o "$scratch/probe" "$scratch/probe.cu" >"$scratch/log" 2>&1; then
    cat "$scratch/log" >&2
    lacks "$nvcc cannot compile a small program, see above: it may need another C++ compiler"
  elif ! gpu="$("$scratch/probe")"; then
    lacks "no GPU can be used here: the CUDA runtime says \"$gpu\". Run this on a machine with an" \
      "NVIDIA GPU (compute capability 8.0 or later) and a driver for CUDA $version"
  else
    architecture="${gpu%% *}"
    gpu="${gpu#* }"
    if [[ "$architecture" -lt 80 ]]; then
      lacks "$gpu has compute capability ${architecture%?}.${architecture: -1}: rora needs 8.0"
    elif ! "$nvcc" --list-gpu-code | grep -qx "sm_$architecture"; then
      lacks "nvcc of CUDA $version does not know sm_$architecture, this GPU's: install a newer one"
    fi
  fi
elif ! nvidia-smi -L >"$scratch/log" 2>&1 || ! grep -q GPU "$scratch/log"; then
  lacks "nvidia-smi finds no GPU: run this on a machine with an NVIDIA GPU and its driver"
fi
if [[ $missing -ne 0 ]]; then
  complain "nothing was built"
  exit 1
fi

# --- What is done: step NAME COMMAND.. notes its outcome and seconds

names=()
outcomes=()
seconds=()
failed=0
note() { # NAME OUTCOME SECONDS
  names+=("$1")
  outcomes+=("$2")
  seconds+=("$3")
  [[ "$2" != FAILED* ]] || failed=1
}
step() {
  local name="$1" begin=$SECONDS outcome=ok
  shift
  say "$name"
  "$@" || outcome=FAILED
  note "$name" "$outcome" $((SECONDS - begin))
  [[ "$outcome" == ok ]]
}

cores="$(nproc 2>/dev/null || echo 4)"

build_all() {
  local log="$build/build.log"
  mkdir -p "$build" || return 1
  if ! { CXX="$compiler" cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DRORA_CUDA=ON \
    -DRORA_NVCC="$nvcc" -DRORA_CUDA_ARCHITECTURES="$architecture" -DRORA_WERROR=OFF &&
    cmake --build "$build" --target rora_gpu_check --parallel "$cores"; } >"$log" 2>&1; then
    tail -n 30 "$log"
    say "the whole log is $log"
    return 1
  fi
}

run_tests() {
  local log="$build/tests.log" at_once=$((cores < 4 ? cores : 4))
  if ! (cd "$build" &&
    ctest -R '^gpu_' --no-tests=error --output-on-failure --parallel "$at_once") 2>&1 |
    tee "$log"; then
    return 1
  fi
  # CTest does not count them as failures.
  if grep -q Skipped "$log"; then
    say "tests found no GPU, though this script did"
    return 1
  fi
}

# Tests and a part of the names of those that are run, under each tool; as far as the time goes.
sanitize() {
  local sanitizer="$1" end=$((SECONDS + 150)) tool test filter result=0 code log
  for tool in memcheck racecheck; do
    for test in rmsnorm: rope: swiglu: linear:onlyTheTrainedRows linear:frozenGroup \
      optimizer:adamwFollows; do
      filter="${test#*:}"
      test="${test%%:*}"
      if ((SECONDS >= end)); then
        say "$tool of $test: left out, the time is up"
        continue
      fi
      log="$build/$tool-$test${filter:+-$filter}.log"
      RORA_TEST_DEVICE=cuda RORA_TEST_BACKENDS="$build" timeout $((end - SECONDS)) "$sanitizer" \
        --tool "$tool" --error-exitcode 99 "$build/tests/${test}_test" ${filter:+"$filter"} \
        >"$log" 2>&1
      code=$?
      case $code in
        0) say "$tool of $test: nothing found" ;;
        124) say "$tool of $test: stopped, the time is up" ;;
        *)
          tail -n 20 "$log"
          say "$tool of $test: FAILED ($code), the whole log is $log"
          result=1
          ;;
      esac
    done
  done
  return "$result"
}

run_bench() {
  local toolkit
  toolkit="$(dirname "$(dirname "$(readlink -f "$nvcc")")")"
  LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$toolkit/lib64:/usr/local/cuda/lib64" \
    timeout 300 "$build/tests/gpu/rora_gpu_bench" --json "$build/bench.json"
}

say "$gpu, sm_$architecture; CUDA $version"
rm -f "$build/bench.json"
if step build build_all; then
  step tests run_tests
  sanitizer="$(find_tool compute-sanitizer)" || sanitizer=""
  if [[ -n "$sanitizer" ]]; then
    step compute-sanitizer sanitize "$sanitizer"
  else
    note compute-sanitizer "left out: it is not installed" 0
  fi
  step times run_bench
fi

{
  printf '{"architecture": "sm_%s", "steps": {' "$architecture"
  for i in "${!names[@]}"; do
    [[ $i -eq 0 ]] || printf ', '
    printf '"%s": {"outcome": "%s", "seconds": %s}' "${names[i]}" "${outcomes[i]}" "${seconds[i]}"
  done
  printf '},\n"bench": '
  cat "$build/bench.json" 2>/dev/null || printf 'null\n'
  printf '}\n'
} >"$json" || failed=1

echo
for i in "${!names[@]}"; do
  say "$(printf '%-18s %-8s %4d s' "${names[i]}" "${outcomes[i]}" "${seconds[i]}")"
done
say "results are in $json"
exit "$failed"

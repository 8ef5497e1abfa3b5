# Sourced by the comparisons: finds a Python that has what they need.

# compare SCRIPT ARGS: runs a script beside this file; --help works without anything installed.
compare() {
  local name here python missing
  name="$(basename "$0")"
  here="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
  python="${RORA_PYTHON:-python3}"
  command -v "$python" >/dev/null 2>&1 || {
    echo "$name: there is no $python: set RORA_PYTHON to a Python 3.10 or later with torch, transformers and peft" >&2
    exit 1
  }
  if [[ " $* " != *" --help "* && " $* " != *" -h "* ]]; then
    missing="$("$python" - <<'END'
import importlib.util, sys
wanted = ("torch", "transformers", "peft")
print("Python-3.10" if sys.version_info < (3, 10) else
      " ".join(name for name in wanted if importlib.util.find_spec(name) is None))
END
)" || exit 1
    if [[ -n "$missing" ]]; then
      echo "$name: $python lacks ${missing// /, }: install it with 'pip install torch transformers peft', or set RORA_PYTHON to a Python that has it" >&2
      exit 1
    fi
  fi
  export PYTHONDONTWRITEBYTECODE=1  # no __pycache__ in the checkout
  exec "$python" "$here/$1" "${@:2}"
}

"""What the two comparisons share: running a side, the machine, and tables. Standard library only."""
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RORA = os.path.join(HERE, "..", "..", "rora")


class Failure(Exception):
    """Ends the comparison with one line."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def python(script, *args):
    return [sys.executable, os.path.join(HERE, script), *map(str, args)]


def run(command, log, results=None):
    """Runs a command, its output to a file; returns the peak resident set of its process in MiB.

    With results its standard output goes to that file instead.

    That is what the system counted when the process ended: VmHWM, after the last file is written.
    """
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    with open(log, "wb") as err, open(results or os.devnull, "wb") as out:
        process = subprocess.Popen(
            command, stdout=out if results else err, stderr=err, stdin=subprocess.DEVNULL, env=environment)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(log, encoding="utf-8", errors="replace") as text:
            say("".join(text.readlines()[-15:]))
        raise Failure(f"failed with status {process.returncode}: {' '.join(command)}")
    return usage.ru_maxrss / 1024


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def require_input(parser, model, file):
    """Ends with a usage error if what the arguments name is not there."""
    if model and not os.path.isfile(os.path.join(model, "config.json")):
        parser.error(f"--model {model}: is no Hugging Face directory, which has a config.json")
    if file and not os.path.isfile(file):
        parser.error(f"there is no file {file}")


class Comparison:
    """One comparison in a folder of its own."""

    def __init__(self, args, folder):
        self.args = args
        self.folder = folder
        self.model = args.model or self.path("model")

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_model(self):
        if not self.args.model:
            say("making the model")
            run(python("make_model.py", self.model), self.path("log"))


def cores():
    return len(os.sched_getaffinity(0))


def machine():
    """Processor, cores, load, and the versions of both sides."""
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    import importlib.metadata as metadata

    versions = {name: metadata.version(name) for name in ("torch", "transformers", "peft")}
    info = subprocess.run([RORA, "info"], capture_output=True, text=True, check=False)
    if info.returncode != 0:
        raise Failure(info.stderr.strip().splitlines()[-1])
    return {
        "processor": model,
        "cores": cores(),
        "load_before": os.getloadavg()[0],
        "versions": versions,
        "rora_info": info.stdout,
    }


def describe(host):
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    text = f"{host['processor']}, {host['cores']} cores, load before {host['load_before']:.2f}; {versions}"
    if host["load_before"] > 0.3:
        text += "\nOther work is running on this machine: the numbers are worth less than they look."
    return text


def median_ratio(rounds):
    """Median, lowest and highest of per-round quotients (rora, other)."""
    ratios = sorted(a / b for a, b in rounds)
    return {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]}


def table(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())


def main(parser, body):
    """Runs body(args, folder) in a folder of its own, which is gone afterwards, whatever happens."""
    args = parser()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="rora-compare.") as folder:
            body(args, folder)
    except Failure as e:
        say(f"{os.path.basename(sys.argv[0])}: {e}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

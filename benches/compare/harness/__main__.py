"""The command line of ../run: which parts are measured, and what becomes of the figures."""
import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import columns
import disturbance
import footprint
import growth
import machine
import report
import reuse
import syscalls
from bench import Bench, Missing, say
from contenders import LIMITS, OURS, PEERS
from load import COLUMNS

ROOT = Path(__file__).resolve().parents[3]
PARTS = {"columns": columns, "syscalls": syscalls, "footprint": footprint, "growth": growth,
         "disturbance": disturbance, "reuse": reuse}
QUICK = ["get_c1", "get_c64", "post2k_c64", "down1m_c8", "close_c16"]


def some_of(known):
    def parse(text):
        chosen = [name for name in text.split(",") if name]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return chosen
    return parse


def options():
    parser = argparse.ArgumentParser(
        prog="benches/compare/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures the proxy beside nginx, HAProxy, a plain hyper proxy and a direct call.",
        epilog="Tables go to standard output, everything else to standard error; all figures to\n"
               "target/compare/results.json or to --out, where parts that were not measured keep their last figures.")
    names = OURS + PEERS + LIMITS
    parser.add_argument("contenders", nargs="*", metavar="CONTENDER", help=f"of {', '.join(names)} [default: all]")
    parser.add_argument("--quick", action="store_true", help="one round, five columns, short curves")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement [default: 5]")
    parser.add_argument("--seconds", type=int, default=1, help="length of a sample [default: 1]")
    parser.add_argument("--only", type=some_of(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--scenarios", type=some_of(COLUMNS), metavar="COLUMN,…", help=f"of {', '.join(COLUMNS)}")
    parser.add_argument("--retries", type=int, help="repeats of a sample that others disturbed [default: 2]")
    parser.add_argument("--program", type=Path, help="our binary [default: a release build]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="put tables and charts into docs/performance.md")
    parser.add_argument("--report", action="store_true", help="measure nothing: report the last figures")
    parser.add_argument("--out", type=Path, metavar="FILE", default=ROOT / "target/compare/results.json",
                        help="where all figures go [default: target/compare/results.json]")
    parser.add_argument("--keep", action="store_true", help="keep the working directory")
    chosen = parser.parse_args()
    chosen.contenders = some_of(names)(",".join(chosen.contenders)) or names
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    chosen.scenarios = chosen.scenarios or (QUICK if chosen.quick else list(COLUMNS))
    chosen.only = chosen.only or list(PARTS)
    chosen.retries = chosen.retries if chosen.retries is not None else (0 if chosen.quick else 2)
    chosen.patience = 0 if chosen.quick else 3
    return chosen


def release_build():
    say("building the release")
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked"], cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/wise-auth-proxy"


def commit():
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"


def measure(chosen, results, file):
    chosen.program = (chosen.program or release_build()).resolve()
    bench = Bench(chosen, ROOT)
    try:
        bench.open()
        for part in chosen.only:
            figures = PARTS[part].run(bench)
            figures["about"] = {
                "machine": machine.describe(), "commit": commit(), "day": time.strftime("%Y-%m-%d"),
                "rounds": bench.rounds, "sample_seconds": bench.seconds, "quick": chosen.quick}
            results[part] = figures
            file.write_text(json.dumps(results, indent=1))
    except RuntimeError:
        chosen.keep = True
        say(f"what it left behind: {bench.work}")
        raise
    finally:
        bench.close()


def main():
    chosen = options()
    file = chosen.out
    file.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(file.read_text()) if file.exists() else {}
    if not chosen.report:
        measure(chosen, results, file)
        results = json.loads(file.read_text())  # keys are texts from here on
    if chosen.write:
        report.write(results, ROOT / "docs")
    print(json.dumps(results, indent=1) if chosen.json else report.markdown(results))


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except (Missing, RuntimeError, subprocess.SubprocessError) as error:
    sys.exit(f"error: {error}")

"""``python -m bench``, or ``make bench``: measure, print the tables, write all samples down.

What is asked for is on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.report import text, write_docs
from bench.runner import Bench
from bench.table import OWN, SYSTEMS, WORKLOADS, Workload

ROUNDS, QUICK_ROUNDS = 7, 2
RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def arguments() -> argparse.ArgumentParser:
    """Return the command line."""
    listed = "\n".join(f"  {workload.id:12}{workload.title}" for workload in WORKLOADS.values())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Converge beside its peers and beside the limit of the machine, round by round.",
        epilog=f"workloads:\n{listed}\n\nsystems:\n  {', '.join(SYSTEMS)}\n\n"
        f"A run of everything, in {ROUNDS} rounds or more, goes to bench/results/latest.json, any other one to\n"
        "bench/results/partial.json. "
        "The first run installs the peers into bench/.peers.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-w",
        "--workload",
        action="append",
        metavar="ID",
        help="measure this workload, or all that begin so (W5 is all of W5-...); may be given again",
    )
    parser.add_argument(
        "-s",
        "--system",
        action="append",
        choices=SYSTEMS,
        metavar="NAME",
        help="measure this system beside converge; may be given again",
    )
    parser.add_argument("-r", "--rounds", type=_positive, metavar="N", help=f"samples of each (default: {ROUNDS})")
    parser.add_argument(
        "-q", "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, and without what takes long"
    )
    parser.add_argument("--json", action="store_true", help="print machine, versions and all samples as JSON")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="measure nothing: write the tables of bench/results/latest.json into docs/performance.md",
    )
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def wanted(parser: argparse.ArgumentParser, ids: list[str] | None, quick: bool) -> list[Workload]:
    """Return the workloads that were asked for. Ends the program for a name that is none."""
    for asked in ids or ():
        if not any(_is(asked, known) for known in WORKLOADS):
            parser.error(f"there is no workload {asked!r}; they are {', '.join(WORKLOADS)}")
    chosen = [w for w in WORKLOADS.values() if ids is None or any(_is(asked, w.id) for asked in ids)]
    return [workload for workload in chosen if not (quick and workload.long)]


def _is(asked: str, known: str) -> bool:
    return known == asked or known.startswith(f"{asked}-")


def main() -> None:
    """Do what the command line says."""
    parser = arguments()
    args = parser.parse_args()
    latest = RESULTS / "latest.json"
    if args.write_docs:
        write_docs(PAGE, json.loads(latest.read_text()))
        return
    workloads = wanted(parser, args.workload, args.quick)
    bench = Bench(args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS))
    for workload in workloads:
        names = [n for n in workload.systems if args.system is None or n == OWN or n in args.system]
        bench.measure(workload, names)
    results = bench.results()
    RESULTS.mkdir(exist_ok=True)
    is_whole = len(workloads) == len(WORKLOADS) and args.system is None and bench.rounds >= ROUNDS
    (latest if is_whole else RESULTS / "partial.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1) if args.json else text(results))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")

"""What every benchmark here shares: the machine in words, goals, rounds, and how an outcome is printed and kept.

Invariant: with `--json` standard output is exactly one line, a JSON object with the keys `benchmark`, `hardware`,
`figures`, `ratios` and `goals`; everything else goes to standard error.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

Measurement = Callable[[argparse.Namespace], "Outcome"]
STDOUT, STDERR = 1, 2  # what a process that is started gets
INSTRUCTION_SETS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")


@dataclass(frozen=True)
class Outcome:
    """What a benchmark found. `goals` names ratios and the least they should be, `most` those that should be at most so
    much; a ratio not measured is None.
    """

    benchmark: str
    figures: dict[str, Any]
    ratios: Mapping[str, float | None]
    goals: dict[str, float]
    libraries: tuple[str, ...] = ()  # distributions whose versions matter
    most: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The printed object."""
        return {
            "benchmark": self.benchmark,
            "hardware": hardware(self.libraries),
            "figures": self.figures,
            "ratios": self.ratios,
            "goals": [
                {"name": name, "goal": goal, "reached": reached, "met": missed == 0.0, "missed_by": missed}
                for name, goal in (self.goals | self.most).items()
                for reached in [self.ratios[name]]
                for missed in [self._missed_by(name, goal, reached)]
            ],
        }

    def _missed_by(self, name: str, goal: float, reached: float | None) -> float | None:
        """The share of a goal by which it is missed; 0 where it is met, None where nothing was measured."""
        if reached is None:
            return None
        short = reached - goal if name in self.most else goal - reached
        return max(0.0, short / goal) if goal else float(short > 0.0)


def main(parser: argparse.ArgumentParser, measure: Measurement, arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark from its command line: measure, print, keep."""
    add_output(parser)
    given = parser.parse_args(arguments)
    publish(measure(given), given)


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options that `publish` reads."""
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of a table")
    parser.add_argument("--out", type=Path, help="also write the line into this folder, named by date and benchmark")


def publish(found: Outcome, given: argparse.Namespace) -> None:
    """Print what a benchmark found, and keep it, as the command line says."""
    outcome = found.as_json()
    line = json.dumps(outcome, ensure_ascii=False)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        date = outcome["hardware"]["date"][:10]
        (given.out / f"{date}-{outcome['benchmark']}.json").write_text(line + "\n", encoding="utf-8")
    if given.json:
        print(line)
    else:
        _print_tables(outcome)


@contextmanager
def aside() -> Iterator[None]:
    """What is printed, by processes that are started too, goes to standard error: standard output is for figures."""
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, STDOUT)
        os.close(kept)


def note(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def interleaved(
    contenders: Mapping[str, Callable[[], Callable[[str], object]]], parts: Sequence[str], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """CPU seconds by part, contender and round.

    A contender is called once at the beginning of a round, which does not count, and gives the function that does the
    work of a part. Each round begins with another contender, so that what disturbs the machine disturbs all.
    """
    seconds: dict[str, dict[str, list[float]]] = {part: {name: [] for name in contenders} for part in parts}
    names = list(contenders)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            work = contenders[name]()
            for part in parts:
                begin = time.process_time()
                work(part)
                seconds[part][name].append(time.process_time() - begin)
        note(f"round {number + 1} of {rounds}")
    return seconds


def median_ratio(others: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster ours is: the median over the rounds."""
    return statistics.median(other / own for other, own in zip(others, ours, strict=True))


def on_one_core() -> int:
    """Keep this process on one core, as every figure here is per core; returns its number."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def hardware(libraries: Sequence[str] = ()) -> dict[str, Any]:
    """The machine, the date and the versions a figure depends on."""
    cpu = _first_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    flags = (_first_of("/proc/cpuinfo", "flags") or _first_of("/proc/cpuinfo", "Features")).split()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "instructions": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m", _module_name(), *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in libraries},
        },
    }


def _module_name() -> str:
    main_module = sys.modules["__main__"]
    return main_module.__spec__.name.removesuffix(".__main__") if main_module.__spec__ else Path(sys.argv[0]).name


def _first_of(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == key), "")


def _print_tables(outcome: dict[str, Any]) -> None:
    console = Console()
    hardware_line = ", ".join(f"{name} {value}" for name, value in outcome["hardware"].items() if name != "versions")
    console.print(f"{outcome['benchmark']}: {hardware_line}", highlight=False)
    for name, figure in outcome["figures"].items():
        if isinstance(figure, dict) and figure and all(isinstance(row, dict) for row in figure.values()):
            console.print(_table_of_rows(name, figure))
        else:
            console.print(f"{name}: {figure}", highlight=False)
    goals = Table(Column("ratio", overflow="fold"), "reached", "goal", "")
    wanted = {goal["name"]: goal for goal in outcome["goals"]}
    for name, ratio in outcome["ratios"].items():
        goal = wanted.get(name)
        reached = "not measured" if ratio is None else f"{ratio:.3g}"
        goals.add_row(name, reached, "" if goal is None else f"{goal['goal']:.3g}", _verdict(goal))
    console.print(goals)


def _verdict(goal: dict[str, Any] | None) -> str:
    if goal is None or goal["missed_by"] is None:
        return ""
    return "met" if goal["met"] else f"missed by {goal['missed_by']:.1%}"


def _table_of_rows(title: str, rows: dict[str, dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table("", *columns, title=title)
    for name, row in rows.items():
        cells = [row.get(column, "") for column in columns]
        table.add_row(name, *[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells])
    return table

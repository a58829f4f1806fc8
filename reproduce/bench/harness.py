"""What the benches share: arguments, works measured in turn, and the record results/bench/NAME.json."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.runs import Option, read_options
from reproduce import machine, record
from reproduce.preflight import require_writable

Work = Callable[[], object]
CPU = torch.device("cpu")


def begun(options: Mapping[str, Option] | None = None) -> dict:
    """The values of a bench's arguments, RESULTS among them. What cannot be written at its end is said before it."""
    given = read_options(sys.argv[1:], {"RESULTS": Option(Path, Path("results")), **(options or {})})
    require_writable(given["RESULTS"])
    return given


def write(name: str, given: dict, content: dict, device: torch.device) -> None:
    path = given["RESULTS"] / "bench" / f"{name}.json"
    record.write_json(path, content | {"provenance": machine.provenance(device)})


def in_turn(works: Mapping[str, Work], rounds: int, measure: Callable[[Work], float]) -> dict[str, list[float]]:
    """What is measured of each work in some rounds. In a round they take turns, so that a busy machine is fair."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(measure(work))
    return measured


def cpu_seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def wall_seconds(work: Work) -> float:
    """Seconds until the work is done, also that on a GPU."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start

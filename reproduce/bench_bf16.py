"""`make bench-bf16`: are twins with gradgap, trained in bfloat16, as good as in float32? On digits."""

from dataclasses import replace

from benchmarks.runs import Run, command
from reproduce.pairs import compare


def in_bf16(run: Run) -> Run:
    return replace(run, override={**run.override, "bf16": 1})


WAYS = {"bf16": in_bf16, "float32": lambda run: run}

if __name__ == "__main__":
    command(lambda: compare("bf16", __doc__, WAYS, ("digits",)))

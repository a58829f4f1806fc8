"""`make bench-lazy`: is gradgap at every 8th update, the default, as good as at every update?

On digits and on fashion-mnist, which needs Debian's dataset-fashion-mnist or DATA/FashionMNIST.
"""

from dataclasses import replace

from benchmarks.runs import Run, command
from reproduce.pairs import compare


def exact(run: Run) -> Run:
    return replace(run, regularizers={"gradgap_exact": run.regularizers["gradgap"]})


WAYS = {"default": lambda run: run, "exact": exact}

if __name__ == "__main__":
    command(lambda: compare("lazy", __doc__, WAYS, ("digits", "fashion-mnist")))

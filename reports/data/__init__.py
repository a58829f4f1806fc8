"""results/ as data. `from reports.data import frame` is the whole interface for a notebook."""

from pathlib import Path


def frame(results: str | Path = "results"):
    """Everything that was measured, as one tidy pandas.DataFrame: a row for each run, checkpoint, draw and metric.

    Its columns are those of reports/data/records.py. A run that diverged has one row without a metric.
    """
    from reports.data.records import read  # here, since `make status` uses this package without pandas

    return read(Path(results)).frame

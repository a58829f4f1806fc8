"""Which numbers a table takes for its own, on synthetic results."""

import pytest

from benchmarks.tables import TABLES
from reports.data.records import read
from reports.data.views import view


@pytest.mark.parametrize("name", [name for name in TABLES if name != "table1"])
def test_every_run_measured_as_the_table_says_is_shown(writer, name):
    """Models without an average of their weights, such as the published WGAN, stand beside those with one."""
    writer.table(name, seeds=1)
    made = view(read(writer.folder), name)
    assert set(made.trained.index) <= set(made.of(made.headline[0]).index)
    assert made.rows.loc[made.rows["checkpoint"] == "last", "own"].all()


def test_what_most_runs_of_a_data_set_have_is_the_tables_own(writer):
    writer.table("table3", seeds=1)
    odd = next(folder for folder in sorted(writer.folder.iterdir()))
    record = (odd / "metrics.json").read_text().replace("clean", "legacy")
    (odd / "metrics.json").write_text(record)
    made = view(read(writer.folder), "table3")
    left_out = set(made.trained.index) - set(made.of("fid").index)
    assert left_out == {odd.name.removesuffix("-s0")}

"""The recorded drills as a table: what went wrong on purpose, and what became of it; written by reports.bench."""

from reports.formats import Grid, Text, markdown

HEADER = ("drill", "what is done", "how often", "measured", "message shown", "equal", "leftovers")
NOTE = """- Subject: {count} runs ({runs}) on 24 images of noise, by the same commands as any other run.
- After every drill the same sweep is given again.
- equal to a sweep that nobody disturbed: tensors of the checkpoints and of
  the generator bit by bit, every line of the log but for its seconds, all values of metrics.json, the rendered table.
- leftovers: files that an undisturbed sweep does not leave, and JSON files that are not whole.
- Seconds are of a busy machine; a hang takes TIMEOUT to notice and, where the process is deaf, 30 s to end.
- Seed of all that is random: {seed}.
"""


def drills(data: dict) -> str:
    """The table and how to read it, of what `python -m reproduce.drills` recorded."""
    rows = [list(map(Text, (row["drill"], row["what"], *_outcome(row)))) for row in data["rows"]]
    note = NOTE.format(count=len(data["runs"]), runs=", ".join(data["runs"]), seed=data["seed"])
    return f"# Drills\n\n{markdown(Grid([(name,) for name in HEADER], rows, labels=len(HEADER)))}\n\n{note}"


def _outcome(row: dict) -> tuple[str, ...]:
    """What stands under "how often" and after it."""
    for key, words in (("not_run", "not run"), ("failed", "FAILED")):
        if key in row:
            return "-", f"{words}: {row[key]}", "-", "-", "-"
    return (str(row["times"]), ", ".join(f"{name}: {value:.3g}" for name, value in row["figures"].items()),
            row["message"] or "-", f"NO: {', '.join(row['differences'])}" if row["differences"] else "yes",
            ", ".join(row["leftovers"]) or "none")

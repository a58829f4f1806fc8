"""The rendered drills: one that went wrong, or did not take place, never looks like one that passed."""

import json

from reports import bench
from reports.conftest import PROVENANCE

PASSED = {"drill": "SIGTERM", "what": "SIGTERM to a training.", "times": 3, "figures": {"seconds": 0.8765, "killed": 4},
          "message": "told to stop", "differences": [], "leftovers": []}
ROWS = [PASSED, PASSED | {"drill": "spoilt", "message": "", "differences": ["a/log.jsonl"], "leftovers": ["b.tmp"]},
        {"drill": "full-disk", "what": "No room.", "not_run": "mounting a disk needs root"},
        {"drill": "hang", "what": "SIGSTOP.", "failed": "status 1 | no"}]


def test_every_outcome_is_told_apart(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "drills.json").write_text(json.dumps({
        "command": "python -m reproduce.drills", "rows": ROWS, "runs": ["r1", "r2"], "seed": 7,
        "provenance": PROVENANCE}))  # fmt: skip
    [made] = bench.render(tmp_path, tmp_path / "reports")
    lines = made.read_text().splitlines()
    assert "| SIGTERM | SIGTERM to a training. | 3 | seconds: 0.876, killed: 4 | told to stop | yes | none |" in lines
    assert "| spoilt | SIGTERM to a training. | 3 | seconds: 0.876, killed: 4 | - | NO: a/log.jsonl | b.tmp |" in lines
    assert "| full-disk | No room. | - | not run: mounting a disk needs root | - | - | - |" in lines
    assert "| hang | SIGSTOP. | - | FAILED: status 1 \\| no | - | - | - |" in lines
    assert "2 runs (r1, r2)" in made.read_text() and "random: 7." in made.read_text() and "test device" in lines[-1]

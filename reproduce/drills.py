"""`python -m reproduce.drills`: what long trainings suffer, done on purpose to a tiny table of two runs, with figures.

Every drill starts from nothing, disturbs, and gives the same commands again; what it ends with must be, bit by bit,
what an undisturbed sweep ends with. Writes <results>/bench/drills.json; drills that are not asked for stay in it, if
they were made by the same code.
Linux only; those that mount a small disk need root, two need Ray. A new drill is a function and its name in DRILLS.
"""

import argparse
import fcntl
import importlib.util
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.runs import InputError, Protocol, Run, TryLaterError, command
from reproduce import record
from reproduce.cell import ROOT, Settings
from reproduce.engines import arguments

RUNS = [Run("dcgan", "noise", 32, 0.5, regularizers, iterations=120, batch=4, override={"width": 0.1}).id
        for regularizers in ({}, {"gradgap": 0.1})]  # fmt: skip
ROWS = 60  # lines of a run's log
PATIENCE = 300.0  # seconds until a drill gives up waiting
TIMEOUT = 45  # of the sweeps that are to notice a hang; loading torch on a busy machine must be quicker
KILLS = 20
RAY = r"\x1b\[\d+m(\(\w+ pid=\d+\)\x1b\[0m )?"  # what it puts before a line of a task
SEED = 0  # of the moments of the kills, the damaged bit, the jumps of the clock
RENDER = """
from benchmarks.runs import Run
from benchmarks.tables import TABLES, Cell, Table
from reports import tables
TABLES["drill"] = Table("Drill", (), tuple(Cell(Run.from_id(run_id)) for run_id in {runs}))
tables.main()
"""
JUMPING = """
import random, time
real = time.time
time.time = lambda: real() + random.choice((-86400.0, 0.0, 86400.0))
"""


class DrillError(RuntimeError):
    """Something did not go as it must."""


class CannotRun(RuntimeError):
    """This machine lacks what the drill needs."""


def require(condition: object, otherwise: str) -> None:
    if not condition:
        raise DrillError(otherwise)


def until(condition: Callable[[], object], what: str, pause: float = 0.02) -> float:
    """Wait for it. Returns the seconds that took; raises DrillError when patience is at its end."""
    began = time.monotonic()
    while not condition():
        require(time.monotonic() - began < PATIENCE, f"waited {PATIENCE:.0f} s in vain: {what}")
        time.sleep(pause)
    return time.monotonic() - began


# --- Where a drill takes place ----------------------------------------------------------------------------------------


@dataclass
class Place:
    """A folder of its own with data, results and reports. `held` is given back when the drill has been compared."""

    folder: Path
    held: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self):
        self.settings = Settings(self.folder / "data", self.folder / "results", "cpu", Protocol("effnet", samples=12))
        self.outputs = (self.folder / f"output{i}" for i in count())
        (self.settings.data / "noise").mkdir(parents=True)
        self.settings.results.mkdir()
        for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
            Image.fromarray(image).save(self.settings.data / "noise" / f"{i}.png")

    def run(self, number: int = 0) -> Path:
        return self.settings.results / RUNS[number]

    def train(self, number: int = 0) -> list[str]:
        return self.settings.commands(RUNS[number])[0]

    def evaluate(self, number: int = 0) -> list[str]:
        return self.settings.commands(RUNS[number])[1]

    def sweep(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "reproduce.sweep", *arguments(self.settings), *options, *RUNS]

    def render(self) -> list[str]:
        where = ["--results", str(self.settings.results), "--out", str(self.folder / "reports")]
        return [sys.executable, "-c", RENDER.format(runs=RUNS), "drill", *where]

    def files(self) -> dict[str, Path]:
        """All that lies here, by its name in this folder."""
        return {str(path.relative_to(self.folder)): path for part in ("data", "results", "reports")
                for path in sorted((self.folder / part).rglob("*")) if path.is_file()}

    def to_the_end(self) -> str:
        """Sweep, and render. Returns what the sweep said."""
        said = self.succeed(self.sweep())
        require(f"{len(RUNS)} of {len(RUNS)} cells done" in said, f"the sweep said {said!r}")
        self.succeed(self.render())
        return said

    def succeed(self, command: list[str]) -> str:
        status, said = self.do(command)
        require(status == 0, f"{command[2]} ended with status {status}: {said[-300:]!r}")
        return said

    def do(self, command: list[str], **environment: str) -> tuple[int, str]:
        with self.started(command, **environment) as process:
            return process.wait(PATIENCE), process.said()

    @contextmanager
    def started(self, command: list[str], **environment: str) -> Iterator["Process"]:
        """A command under way in a session of its own; what is left of it at the end is killed."""
        output = next(self.outputs)
        with output.open("wb") as file:
            process = Process(command, output, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                              env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | environment)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Process(subprocess.Popen):
    def __init__(self, command: list[str], output: Path, **options):
        super().__init__(command, **options)
        self.output = output

    def said(self) -> str:
        """What it has said so far, without the names of this place's folders and what Ray puts before a line."""
        text = self.output.read_text(encoding="utf-8", errors="replace")
        return re.sub(RAY, "", text).replace(f"{self.output.parent}/", "")

    def end(self, number: int, status: int) -> float:
        """Send a signal. Returns the seconds until it has ended, with this status or else DrillError is raised."""
        began = time.monotonic()
        self.send_signal(number)
        found = self.wait(PATIENCE)
        require(found == status, f"status {found} instead of {status} after signal {number}: {self.said()[-300:]!r}")
        return time.monotonic() - began


# --- The comparison ---------------------------------------------------------------------------------------------------


def frozen(tree: object) -> object:
    """The same tree with every tensor as its type, shape and bytes, so that == compares bits."""
    if isinstance(tree, torch.Tensor):
        return str(tree.dtype), tuple(tree.shape), tree.contiguous().numpy().tobytes()
    if isinstance(tree, dict):
        return {key: frozen(value) for key, value in tree.items()}
    return [frozen(value) for value in tree] if isinstance(tree, list | tuple) else tree


def _checkpoint(path: Path) -> object:
    return frozen(torch.load(path, weights_only=True) | {"seconds": 0.0})


def _log(path: Path) -> object:
    return [json.loads(line) | {"seconds": 0.0} for line in path.read_text("utf-8").splitlines()]


def _metrics(path: Path) -> object:
    record = json.loads(path.read_text("utf-8"))
    return [record[key] for key in ("id", "run", "status", "iteration", "metrics", "evaluated")]


COMPARED = {"checkpoint.pt": _checkpoint, "log.jsonl": _log,
            "metrics.json": _metrics} | dict.fromkeys(
    ("generator.safetensors", "samples.png", "subset.json", "table.md", "table.csv", "table.tex"), Path.read_bytes)


def differences(expected: Place, found: Place) -> list[str]:
    """Names of the files that are missing or have other content than they should; times do not count."""
    wanted, there = expected.files(), found.files()
    return [name for name, path in wanted.items() if name not in there or (
        path.name in COMPARED and not _same(COMPARED[path.name], path, there[name]))]


def _same(read: Callable[[Path], object], expected: Path, found: Path) -> bool:
    try:
        return read(found) == read(expected)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError):  # it cannot even be read
        return False


def leftovers(expected: Place, found: Place) -> list[str]:
    """Names of the files that an undisturbed sweep does not leave, and of JSON files that are not whole."""
    wanted = expected.files()
    return [name for name, path in found.files().items() if name not in wanted or not _whole(path)]


def _whole(path: Path) -> bool:
    texts = {".json": lambda text: [text], ".jsonl": str.splitlines}.get(path.suffix, lambda text: [])
    try:
        return all(map(json.loads, texts(path.read_text("utf-8")))) if path.suffix.startswith(".json") else True
    except ValueError:
        return False


# --- Drills -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How often it was done, what was measured, and the line that a user sees."""

    times: int
    figures: dict[str, float]
    message: str = ""


def lines(folder: Path) -> int:
    return (folder / "log.jsonl").read_bytes().count(b"\n") if (folder / "log.jsonl").exists() else 0


def line(said: str, having: str) -> str:
    """The one line that has these words."""
    found = [text for text in said.splitlines() if having in text]
    require(found, f"nothing said of {having!r} in {said[-300:]!r}")
    return found[0]


def at_work(folder: Path) -> bool:
    """Does a process hold the run's lock?"""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def pid_of(place: Place, module: str, run_id: str = "") -> int | None:
    """The process of a module that works for this place, and on this run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = path.read_bytes().decode(errors="replace").split("\0")
            if module in words and str(place.settings.results) in words and (not run_id or run_id in words):
                return int(path.parent.name)
    return None


def training(place: Place) -> int:
    """The process of the first run's training."""
    pid = pid_of(place, "reproduce.train", RUNS[0])
    require(pid, "the training has ended too early")
    return pid


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def killed(place: Place, command: list[str], ready: Callable[[Process], bool], delay: float, pause: float = 0.02
           ) -> Process | None:
    """Start it, wait until it is ready, wait a little more, and kill it. Returns it, None if it had ended by itself."""
    with place.started(command) as process:
        while not ready(process) and process.poll() is None:
            time.sleep(pause)
        time.sleep(delay)
        process.kill()
        return process if process.wait() == -signal.SIGKILL else None


def kill_anywhere(place: Place) -> Outcome:
    """SIGKILL at random moments of training, of checkpoint writes, of evaluation and of rendering; each time the same
    command again."""
    chance, hits = random.Random(SEED), Counter()
    for number in range(len(RUNS)):
        hits += kills_of_a_run(place, number, chance)
    while hits.total() < KILLS:
        hits["in rendering"] += killed(place, place.render(), lambda _: True, chance.uniform(0, 0.5)) is not None
    return Outcome(hits.total(), dict(hits))


def kills_of_a_run(place: Place, number: int, chance: random.Random) -> Counter:
    """Three aimed at checkpoint writes, three at its training, two at its evaluation; what they have hit."""
    folder, hits = place.run(number), Counter()

    def aside(process: Process) -> Path:
        return folder / f"checkpoint.new.pt.{process.pid}.tmp"

    for ready, most, pause in [(lambda process: aside(process).exists(), 0, 0),
                               (lambda _: at_work(folder), 1, 0.02)] * 3:
        if process := killed(place, place.train(number), ready, chance.uniform(0, most), pause):
            hits["at a checkpoint write" if aside(process).exists() else "in training"] += 1
    place.succeed(place.train(number))
    for _ in range(2):
        hits["in evaluation"] += killed(place, place.evaluate(number), lambda _: at_work(folder),
                                        chance.uniform(0, 1)) is not None
    place.succeed(place.evaluate(number))
    return hits


def preempt(place: Place) -> Outcome:
    """SIGTERM to a training, as before a preemption: it saves and ends with status 75."""
    seconds = []
    for part in (0.1, 0.3, 0.5):
        with place.started(place.train()) as process:
            until(lambda part=part: lines(place.run()) > part * ROWS, "the training comes some way")
            seconds.append(process.end(signal.SIGTERM, TryLaterError.status))
            message = line(process.said(), "told to stop")
    return Outcome(len(seconds), {"seconds until exit, at most": max(seconds)}, message)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content, chance = bytearray(file.read_bytes()), random.Random(SEED)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def begin(place: Place) -> None:
    """A training that is stopped when it has two checkpoints and has gone on a little."""
    with place.started(place.train()) as process:
        until(lambda: lines(place.run()) > 0.43 * ROWS, "the training comes some way")
        process.end(signal.SIGTERM, TryLaterError.status)


def damage(place: Place, spoil: Callable[[Path], None], *names: str) -> Outcome:
    """Spoil checkpoints of a stopped training, and sweep. Measured: how far back the last whole checkpoint is."""
    begin(place)
    steps = [torch.load(place.run() / name, weights_only=True)["step"] for name in ("checkpoint.pt",
                                                                                    "checkpoint.prev.pt")]
    for name in names:
        spoil(place.run() / name)
    said = place.to_the_end()
    for name in names:
        line(said, f"{name} is damaged")
    message = line(said, "is damaged" if len(names) == 1 else "anew")
    return Outcome(1, {"iterations lost": steps[0] - [*steps, 0][len(names)]}, message)


def truncated_checkpoint(place: Place) -> Outcome:
    """The last checkpoint of a stopped training is cut in half: it goes on from the one before."""
    return damage(place, truncate, "checkpoint.pt")


def flipped_bit(place: Place) -> Outcome:
    """One bit of the last checkpoint of a stopped training is flipped: it goes on from the one before."""
    return damage(place, flip_a_bit, "checkpoint.pt")


def both_checkpoints_damaged(place: Place) -> Outcome:
    """Both checkpoints of a stopped training are damaged: it begins anew."""
    return damage(place, flip_a_bit, "checkpoint.pt", "checkpoint.prev.pt")


# --- Drills with a disk of their own ----------------------------------------------------------------------------------


def mount(*arguments: object) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"no disk can be mounted here: {done.stderr.strip().rpartition(': ')[2]}")


@contextmanager
def disk(place: Place) -> Iterator[Callable[[str], None]]:
    """The results folder on a small disk of its own, and a function that changes its options."""
    if os.geteuid() or not shutil.which("mount"):
        raise CannotRun("mounting a disk needs root")
    folder = place.settings.results
    mount("-o", "size=64m", "drill", folder)
    place.held.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
    yield lambda options: mount("-o", f"remount,{options}", folder)


def refused(place: Place, command: list[str]) -> str:
    """What a command says that must end with status 2 and one line."""
    status, said = place.do(command)
    require(status == InputError.status and said.count("\n") == 1, f"status {status}, said {said[-300:]!r}")
    return said.strip()


def used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def full_disk(place: Place) -> Outcome:
    """The disk has room for half a checkpoint more, then for nothing more, then for all."""
    with disk(place) as change:
        begin(place)
        before = (place.run() / "checkpoint.pt").read_bytes()
        change(f"size={used(place.settings.results) + len(before) // 2}")
        message = refused(place, place.train())
        require((place.run() / "checkpoint.pt").read_bytes() == before, "the last good checkpoint has changed")
        change(f"size={used(place.settings.results)}")
        line(refused(place, place.train()), "cannot write")
        require((place.run() / "checkpoint.pt").read_bytes() == before, "the last good checkpoint has changed")
        change("size=64m")
    return Outcome(2, {"exit status": InputError.status}, message)


def read_only(place: Place) -> Outcome:
    """The results folder becomes read-only: for a training begun, one not begun, and an evaluation."""
    with disk(place) as change:
        begin(place)
        change("ro")
        said = [refused(place, command) for command in (place.train(0), place.train(1), place.evaluate(0))]
        change("rw")
    return Outcome(len(said), {"exit status": InputError.status}, said[0])


# --- Drills of a sweep ------------------------------------------------------------------------------------------------


def jumping_clock(place: Place) -> Outcome:
    """The time that all processes see and the times of the files jump by a day back and forth, under TIMEOUT."""
    chance, jumps = random.Random(SEED), 0
    (place.folder / "clock").mkdir()
    (place.folder / "clock" / "sitecustomize.py").write_text(JUMPING)
    with place.started(place.sweep(f"--timeout={TIMEOUT}"), PYTHONPATH=str(place.folder / "clock")) as process:
        while process.poll() is None:
            time.sleep(0.1)
            files = [path for path in place.settings.results.rglob("*") if path.is_file()]
            with suppress(IndexError, FileNotFoundError):  # there is none yet, or it was renamed just now
                os.utime(chance.choice(files), (now := time.time() + chance.choice((-86400, 86400)), now))
                jumps += 1
        require(process.returncode == 0, f"status {process.returncode}: {process.said()[-300:]!r}")
        restarts = process.said().count("starting it again")
    require(not restarts, f"{restarts} needless restarts")
    return Outcome(1, {"jumps of files' times": jumps, "needless restarts": restarts})


def two_sweeps(place: Place) -> Outcome:
    """Two sweeps over the same table at once."""
    with place.started(place.sweep()) as first, place.started(place.sweep()) as second:
        statuses = [process.wait(PATIENCE) for process in (first, second)]
        trained = [re.findall(r"^(\S+): trained", process.said(), re.MULTILINE) for process in (first, second)]
    require(statuses == [0, 0], f"statuses {statuses}")
    require(sorted(trained[0] + trained[1]) == sorted(RUNS), f"trained {trained}")
    return Outcome(1, {"trainings of the first": len(trained[0]), "of the second": len(trained[1])})


def hang(place: Place) -> Outcome:
    """SIGSTOP to a training under a sweep with TIMEOUT: it is ended and started again."""
    with place.started(place.sweep(f"--timeout={TIMEOUT}")) as process:
        until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
        os.kill(training(place), signal.SIGSTOP)
        seconds = until(lambda: "starting it again" in process.said(), "the hang is noticed")
        require(process.wait(PATIENCE) == 0, f"status {process.returncode}: {process.said()[-300:]!r}")
        message = line(process.said(), "starting it again")
    return Outcome(1, {"TIMEOUT": TIMEOUT, "seconds until started again": seconds}, message)


def ctrl_c(place: Place) -> Outcome:
    """Ctrl-C of a sweep, in a training and in an evaluation."""
    seconds = []
    for under_way in (lambda: lines(place.run()) > 0.2 * ROWS,
                      lambda: pid_of(place, "reproduce.evaluate") and at_work(place.run())):
        with place.started(place.sweep()) as process:
            until(under_way, "the sweep comes some way")
            seconds.append(process.end(signal.SIGINT, TryLaterError.status))
            message = line(process.said(), "stopped;")
    return Outcome(len(seconds), {"seconds until exit, at most": max(seconds)}, message)


def killed_sweep(place: Place) -> Outcome:
    """SIGKILL to a sweep: its training ends by itself, the next sweep goes on."""
    with place.started(place.sweep()) as process:
        until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
        process.end(signal.SIGKILL, -signal.SIGKILL)
        seconds = until(lambda: pid_of(place, "reproduce.train") is None, "the training ends")
        message = line(process.said(), "told to stop")
    return Outcome(1, {"seconds until its training has ended": seconds}, message)


def killed_ray_worker(place: Place) -> Outcome:
    """Ray with two pretend GPUs; SIGKILL to the worker that is at a training."""
    with place.started(place.sweep("--engine=ray", "--gpus=2")) as process:
        return lost(place, process, lambda: os.kill(parent(training(place)), signal.SIGKILL))


def killed_ray_node(place: Place) -> Outcome:
    """A Ray cluster of two nodes; the one that is at a training dies."""
    require_ray()
    from ray.cluster_utils import Cluster  # here, because it is optional

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    place.held.callback(cluster.shutdown)
    node = cluster.add_node(num_cpus=2, num_gpus=0)

    def kill() -> None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, num_gpus=0)

    with place.started(place.sweep("--engine=ray"), RAY_ADDRESS=cluster.address) as process:
        return lost(place, process, kill)


def lost(place: Place, process: Process, kill: Callable[[], None]) -> Outcome:
    """Kill what runs the first run under Ray. Measured: until it is started again. A killed node says nothing more."""
    require_ray()
    until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
    first = training(place)
    kill()
    seconds = until(lambda: pid_of(place, "reproduce.train", RUNS[0]) not in (None, first), "it is started again")
    require(process.wait(PATIENCE) == 0, f"status {process.returncode}: {process.said()[-300:]!r}")
    message = next((text for text in process.said().splitlines() if "told to stop" in text), "")
    return Outcome(1, {"seconds until started again": seconds}, message)


def require_ray() -> None:
    if not importlib.util.find_spec("ray"):
        raise CannotRun("Ray is not installed")


DRILLS: dict[str, Callable[[Place], Outcome]] = {
    "SIGKILL": kill_anywhere, "SIGTERM": preempt, "truncated": truncated_checkpoint, "flipped-bit": flipped_bit,
    "both-damaged": both_checkpoints_damaged, "full-disk": full_disk, "read-only": read_only, "clock": jumping_clock,
    "two-sweeps": two_sweeps, "hang": hang, "Ctrl-C": ctrl_c, "killed-sweep": killed_sweep,
    "ray-worker": killed_ray_worker, "ray-node": killed_ray_node}  # fmt: skip


# --- All of them ------------------------------------------------------------------------------------------------------


def undisturbed(folder: Path) -> Place:
    place = Place(folder)
    place.to_the_end()
    return place


def hold(name: str, expected: Place, folder: Path) -> dict:
    """One drill, and the comparison with the undisturbed sweep, as a row of the record."""
    place, began = Place(folder), time.monotonic()
    row = {"drill": name, "what": " ".join(DRILLS[name].__doc__.split())}
    with place.held:
        try:
            outcome = DRILLS[name](place)
            place.to_the_end()
        except CannotRun as reason:
            return row | {"not_run": str(reason)}
        except (DrillError, subprocess.TimeoutExpired) as error:
            return row | {"failed": str(error)}
        return row | asdict(outcome) | {"differences": differences(expected, place),
                                        "leftovers": leftovers(expected, place),
                                        "seconds": round(time.monotonic() - began)}


def passed(row: dict) -> bool:
    return "not_run" in row or not (row.get("failed") or row["differences"] or row["leftovers"])


def earlier(file: Path, origin: dict) -> dict[str, dict]:
    """Name -> row of the drills that the same code has made on the same device; who knows what a dirty tree was."""
    known = record.read_json(file) if file.exists() else {}
    same = known.get("provenance") == origin and not origin["dirty"]
    return {row["drill"]: row for row in known["rows"]} if same else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRILLS)}; by default all")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records")
    args = parser.parse_args()
    if unknown := sorted({*args.names} - {*DRILLS}):
        raise InputError(f"drill {unknown[0]!r}: not one of {', '.join(DRILLS)}")
    file, origin = args.results / "bench" / "drills.json", record.provenance(torch.device("cpu"))
    rows = earlier(file, origin)
    with TemporaryDirectory(prefix="drills-") as folder:
        expected = undisturbed(Path(folder) / "undisturbed")
        for name in args.names or DRILLS:
            rows[name] = hold(name, expected, Path(folder) / name)
            print(json.dumps(rows[name]), flush=True)
            record.write_json(file, {
                "command": "python -m reproduce.drills", "seed": SEED, "runs": RUNS, "provenance": origin,
                "rows": [rows[name] for name in DRILLS if name in rows]})
    return int(not all(passed(rows[name]) for name in args.names or DRILLS))


if __name__ == "__main__":
    command(main)

"""Fault injection: kill, starve and damage a tiny sweep of two runs on purpose. `make drills` runs these.

Every drill starts from nothing, disturbs, and gives the same commands again; what it ends with must be, bit by bit,
what an undisturbed sweep ends with. The rows go to $RESULTS/bench/drills.json; rows of drills that are not asked for
stay in it, if they were made by the same code. Linux only; those that mount a small disk need root, two need Ray.

They take minutes, so a plain run of the tests leaves them out (the marker "drill"). The last tests, which hold what
drills have found, are ordinary ones.
"""

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
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.runs import InputError, Run, TryLaterError
from reproduce import checkpoint, machine, record
from reproduce.cell import ROOT
from reproduce.log import Log
from reproduce.settings import Settings

RUNS = []
for regularizers in ({}, {"gradgap": 0.1}):
    run = Run("dcgan", "noise", 32, 0.5, regularizers, iterations=120, batch=4, override={"width": 0.1})
    RUNS.append(run.id)
ROWS = 60  # lines of a run's log
PATIENCE = 300.0  # seconds until a drill gives up waiting
TIMEOUT = 45  # of the sweeps that are to notice a hang; loading torch on a busy machine must be quicker
KILLS = 20
RAY = r"\x1b\[\d+m(\(\w+ pid=\d+\)\x1b\[0m )?"  # what it puts before a line of a task
SEED = 0  # of the moments of the kills, the damaged bit, the jumps of the clock
TRAIN = "from benchmarks.runs import command; from reproduce.run import process; command(process)"
RENDER = """
import sys
from benchmarks.runs import Run
from benchmarks.tables import TABLES, Cell, Table
TABLES["drill"] = Table("Drill", (), tuple(Cell(Run.from_id(run_id)) for run_id in {runs}))
from reports.__main__ import main
sys.exit(main())
"""
JUMPING = """
import random, time
real = time.time
time.time = lambda: real() + random.choice((-86400.0, 0.0, 86400.0))
"""


def until(condition: Callable[[], object], what: str, pause: float = 0.02) -> float:
    """Wait for it. Returns the seconds that took; fails when patience is at its end."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE, f"waited {PATIENCE:.0f} s in vain: {what}"
        time.sleep(pause)
    return time.monotonic() - began


# --- Where a drill takes place ----------------------------------------------------------------------------------------


class Process(subprocess.Popen):
    """A command under way, and what it has said so far."""

    def __init__(self, command: list[str], output: Path, **options):
        super().__init__(command, **options)
        self.output = output

    def said(self) -> str:
        """Without the names of the drill's folders and what Ray puts before a line."""
        text = self.output.read_text(encoding="utf-8", errors="replace")
        return re.sub(RAY, "", text).replace(f"{self.output.parent}/", "")

    def end(self, number: int, status: int) -> float:
        """Send a signal. Returns the seconds until it has ended, which it must with this status."""
        began = time.monotonic()
        self.send_signal(number)
        ended = self.wait(PATIENCE)
        assert ended == status, f"status {ended} instead of {status} after signal {number}: {self.said()[-300:]!r}"
        return time.monotonic() - began


@dataclass
class Place:
    """A folder of its own with data, results and reports.

    held  what is given back when the drill has been compared
    row   what the record says of the drill
    """

    folder: Path
    held: ExitStack = field(default_factory=ExitStack)
    row: dict = field(default_factory=dict)

    def __post_init__(self):
        self.settings = Settings(data=self.folder / "data", results=self.folder / "results",
                                 reports=self.folder / "reports", device="cpu", extractor="effnet", samples=12)
        self.outputs = (self.folder / f"output{i}" for i in count())
        (self.settings.data / "noise").mkdir(parents=True)
        self.settings.results.mkdir()
        for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
            Image.fromarray(image).save(self.settings.data / "noise" / f"{i}.png")

    def run(self, number: int = 0) -> Path:
        return self.settings.results / RUNS[number]

    def whole(self, number: int = 0) -> list[str]:
        """The command that trains a run, then evaluates it."""
        return self.settings.command(RUNS[number])

    def train(self, number: int = 0) -> list[str]:
        """The same for the training alone, which nothing is checked before."""
        return [sys.executable, "-c", TRAIN, RUNS[number], *self.settings.arguments()]

    def sweep(self, **options: object) -> list[str]:
        return [sys.executable, "-m", "reproduce.sweep", *replace(self.settings, **options).arguments(), *RUNS]

    def render(self) -> list[str]:
        where = [f"RESULTS={self.settings.results}", f"REPORTS={self.settings.reports}"]
        return [sys.executable, "-c", RENDER.format(runs=RUNS), "render", "drill", *where]

    def files(self) -> dict[str, Path]:
        """All that lies here, by its name in this folder."""
        files = {}
        for part in ("data", "results", "reports"):
            for path in sorted((self.folder / part).rglob("*")):
                if path.is_file():
                    files[str(path.relative_to(self.folder))] = path
        return files

    def to_the_end(self) -> str:
        """Sweep, and render. Returns what the sweep said."""
        said = self.succeed(self.sweep())
        assert f"{len(RUNS)} of {len(RUNS)} cells done" in said
        self.succeed(self.render())
        return said

    def succeed(self, command: list[str]) -> str:
        status, said = self.do(command)
        assert status == 0, f"{command[2]} ended with status {status}: {said[-300:]!r}"
        return said

    def do(self, command: list[str], **environment: str) -> tuple[int, str]:
        with self.started(command, **environment) as process:
            return process.wait(PATIENCE), process.said()

    @contextmanager
    def started(self, command: list[str], **environment: str) -> Iterator[Process]:
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

    def note(self, times: int, message: str = "", **figures: float) -> None:
        """How often the drill was done, the line that a user sees, and what was measured."""
        self.row |= {"times": times, "message": message,
                     "figures": {name.replace("_", " "): figure for name, figure in figures.items()}}


# --- The comparison ---------------------------------------------------------------------------------------------------


def frozen(tree: object) -> object:
    """The same tree with every tensor as its type, shape and bytes, so that == compares bits."""
    if isinstance(tree, torch.Tensor):
        return str(tree.dtype), tuple(tree.shape), tree.contiguous().numpy().tobytes()
    if isinstance(tree, dict):
        return {key: frozen(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [frozen(value) for value in tree]
    return tree


def state_of(path: Path) -> object:
    return frozen(torch.load(path, weights_only=True) | {"seconds": 0.0})


def log(path: Path) -> object:
    return [json.loads(line) | {"seconds": 0.0} for line in path.read_text("utf-8").splitlines()]


def metrics(path: Path) -> object:
    content = json.loads(path.read_text("utf-8"))
    return [content[key] for key in ("id", "run", "status", "iteration", "metrics", "evaluated")]


READERS = {"checkpoint.pt": state_of, "log.jsonl": log, "metrics.json": metrics}
for name in ("generator.safetensors", "samples.png", "subset.json", "table.md", "table.csv", "table.tex"):
    READERS[name] = Path.read_bytes


def differences(expected: Place, place: Place) -> list[str]:
    """Names of the files that are missing or have other content than they should; times do not count."""
    there = place.files()
    names = []
    for name, path in expected.files().items():
        if name not in there or not same(path, there[name]):
            names.append(name)
    return names


def same(expected: Path, path: Path) -> bool:
    read = READERS.get(path.name)
    try:
        return read is None or read(path) == read(expected)
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError):  # it cannot even be read
        return False


def leftovers(expected: Place, place: Place) -> list[str]:
    """Names of the files that an undisturbed sweep does not leave, and of JSON files that are not whole."""
    wanted = expected.files()
    return [name for name, path in place.files().items() if name not in wanted or not is_whole(path)]


def is_whole(path: Path) -> bool:
    if path.suffix not in (".json", ".jsonl"):
        return True
    text = path.read_text("utf-8")
    try:
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            json.loads(part)
    except ValueError:
        return False
    return True


# --- Fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Place:
    """An undisturbed sweep."""
    place = Place(tmp_path_factory.mktemp("drills") / "undisturbed")
    place.to_the_end()
    return place


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, dict]]:
    """Name of a drill -> its row; written as the record at the end. Rows that the same clean code has made stay."""
    file = Path(os.environ.get("RESULTS", "results")) / "bench" / "drills.json"
    origin = machine.provenance(torch.device("cpu"))
    known = record.read_json(file) if file.exists() else {}
    made = {}
    if known.get("provenance") == origin and not origin["dirty"]:
        made = {row["drill"]: row for row in known["rows"]}
    yield made
    record.write_json(file, {"command": "make drills", "seed": SEED, "runs": RUNS, "provenance": origin,
                             "rows": list(made.values())})


@pytest.fixture
def place(request, expected, rows, tmp_path) -> Iterator[Place]:
    """Where a drill takes place. When it is over the sweep is given again, and all files are compared."""
    began, name = time.monotonic(), request.node.name.removeprefix("test_")
    what = " ".join(request.function.__doc__.split())
    place = Place(tmp_path / "place")
    place.row = {"drill": name, "what": what}
    with place.held:
        yield place
        if "times" in place.row:
            place.row |= ended(expected, place)
        elif "not_run" not in place.row:
            place.row["failed"] = "it did not come to its end"
        rows[name] = place.row | {"seconds": round(time.monotonic() - began)}
    assert not (place.row.get("failed") or place.row.get("differences") or place.row.get("leftovers")), place.row


def ended(expected: Place, place: Place) -> dict:
    """What the record says of how a drill has ended."""
    try:
        place.to_the_end()
    except AssertionError as error:
        return {"failed": str(error)}
    return {"differences": differences(expected, place), "leftovers": leftovers(expected, place)}


def cannot(place: Place, reason: str) -> None:
    """This machine lacks what the drill needs."""
    place.row["not_run"] = reason
    pytest.skip(reason)


# --- What drills do ---------------------------------------------------------------------------------------------------


def lines(folder: Path) -> int:
    return (folder / "log.jsonl").read_bytes().count(b"\n") if (folder / "log.jsonl").exists() else 0


def line(said: str, having: str) -> str:
    """The first line that has these words."""
    having_it = [text for text in said.splitlines() if having in text]
    assert having_it, f"nothing said of {having!r} in {said[-300:]!r}"
    return having_it[0]


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


def trained(folder: Path) -> bool:
    return (folder / "generator.safetensors").exists()


def pid_of(place: Place, run_id: str) -> int | None:
    """The process that trains or evaluates this run for this place."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = path.read_bytes().decode(errors="replace").split("\0")
            if {"reproduce.run", f"RESULTS={place.settings.results}", run_id} <= set(words):
                return int(path.parent.name)
    return None


def training(place: Place) -> int:
    """The process of the first run's training."""
    pid = pid_of(place, RUNS[0])
    assert pid, "the training has ended too early"
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


@pytest.mark.drill
def test_SIGKILL(place):
    """SIGKILL at random moments of training, of checkpoint writes, of evaluation and of rendering; each time the same
    command again."""
    chance, hits = random.Random(SEED), Counter()
    for number in range(len(RUNS)):
        hits += kills_of_a_run(place, number, chance)
    place.succeed(place.sweep())
    while hits.total() < KILLS:
        hits["in_rendering"] += killed(place, place.render(), lambda _: True, chance.uniform(0, 0.5)) is not None
    place.note(hits.total(), **hits)


def kills_of_a_run(place: Place, number: int, chance: random.Random) -> Counter:
    """Three aimed at checkpoint writes, three at its training, two at its evaluation; what they have hit."""
    folder, hits = place.run(number), Counter()

    def aside(process: Process) -> Path:
        return folder / f"checkpoint.new.pt.{process.pid}.tmp"

    for ready, most, pause in [(lambda process: aside(process).exists(), 0, 0),
                               (lambda _: at_work(folder), 0.5, 0.02)] * 3:
        if process := killed(place, place.train(number), ready, chance.uniform(0, most), pause):
            hits["at_a_checkpoint_write" if aside(process).exists() else "in_training"] += 1
    place.succeed(place.train(number))
    for _ in range(2):
        process = killed(place, place.whole(number), lambda _: at_work(folder), chance.uniform(0, 0.5))
        hits["in_evaluation"] += process is not None
    return hits


@pytest.mark.drill
def test_SIGTERM(place):
    """SIGTERM to a training, as before a preemption: it saves and ends with status 75."""
    seconds = []
    for part in (0.1, 0.3, 0.5):
        with place.started(place.whole()) as process:
            until(lambda part=part: lines(place.run()) > part * ROWS, "the training comes some way")
            seconds.append(process.end(signal.SIGTERM, TryLaterError.status))
            message = line(process.said(), "told to stop")
    place.note(len(seconds), message, **{"seconds until exit, at most": max(seconds)})


# --- Damaged checkpoints ----------------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content, chance = bytearray(file.read_bytes()), random.Random(SEED)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def begin(place: Place) -> None:
    """A training that is stopped when it has two checkpoints and has gone on a little."""
    with place.started(place.whole()) as process:
        until(lambda: lines(place.run()) > 0.43 * ROWS, "the training comes some way")
        process.end(signal.SIGTERM, TryLaterError.status)


def damage(place: Place, spoil: Callable[[Path], None], *names: str) -> None:
    """Spoil checkpoints of a stopped training, and sweep. Measured: how far back the last whole checkpoint is."""
    begin(place)
    steps = []
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        steps.append(torch.load(place.run() / name, weights_only=True)["step"])
    for name in names:
        spoil(place.run() / name)
    said = place.to_the_end()
    for name in names:
        line(said, f"{name} is damaged")
    message = line(said, "is damaged" if len(names) == 1 else "anew")
    place.note(1, message, iterations_lost=steps[0] - [*steps, 0][len(names)])


@pytest.mark.drill
def test_truncated(place):
    """The last checkpoint of a stopped training is cut in half: it goes on from the one before."""
    damage(place, truncate, "checkpoint.pt")


@pytest.mark.drill
def test_flipped_bit(place):
    """One bit of the last checkpoint of a stopped training is flipped: it goes on from the one before."""
    damage(place, flip_a_bit, "checkpoint.pt")


@pytest.mark.drill
def test_both_damaged(place):
    """Both checkpoints of a stopped training are damaged: it begins anew."""
    damage(place, flip_a_bit, "checkpoint.pt", "checkpoint.prev.pt")


# --- Disks ------------------------------------------------------------------------------------------------------------


@contextmanager
def disk(place: Place) -> Iterator[Callable[[str], None]]:
    """The results folder on a small disk of its own, and a function that changes its options."""
    if os.geteuid() or not shutil.which("mount"):
        cannot(place, "mounting a disk needs root")
    folder = place.settings.results

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "drill", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            cannot(place, f"no disk can be mounted here: {done.stderr.strip().rpartition(': ')[2]}")

    mount("size=64m")
    place.held.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
    yield lambda options: mount(f"remount,{options}")


def refused(place: Place, command: list[str]) -> str:
    """What a command says that must end with status 2 and one line."""
    status, said = place.do(command)
    assert status == InputError.status and said.count("\n") == 1, f"status {status}, said {said[-300:]!r}"
    return said.strip()


def used(folder: Path) -> int:
    stat = os.statvfs(folder)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


@pytest.mark.drill
def test_full_disk(place):
    """The disk has room for half a checkpoint more, then for nothing more, which is known before; then for all."""
    with disk(place) as change:
        begin(place)
        before = (place.run() / "checkpoint.pt").read_bytes()
        change(f"size={used(place.settings.results) + len(before) // 2}")
        message = refused(place, place.train())
        assert (place.run() / "checkpoint.pt").read_bytes() == before, "the last good checkpoint has changed"
        change(f"size={used(place.settings.results)}")
        line(refused(place, place.train()), "cannot write")
        line(refused(place, place.whole()), "are free")
        assert (place.run() / "checkpoint.pt").read_bytes() == before, "the last good checkpoint has changed"
        change("size=64m")
    place.note(3, message, exit_status=InputError.status)


@pytest.mark.drill
def test_read_only(place):
    """The results folder becomes read-only: for a training begun, one not begun, and a whole run."""
    with disk(place) as change:
        begin(place)
        change("ro")
        said = [refused(place, command) for command in (place.train(0), place.train(1), place.whole(0))]
        change("rw")
    place.note(len(said), said[0], exit_status=InputError.status)


# --- Sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.drill
def test_clock(place):
    """The time that all processes see and the times of the files jump by a day back and forth, under TIMEOUT."""
    chance, jumps = random.Random(SEED), 0
    (place.folder / "clock").mkdir()
    (place.folder / "clock" / "sitecustomize.py").write_text(JUMPING)
    with place.started(place.sweep(timeout=TIMEOUT), PYTHONPATH=str(place.folder / "clock")) as process:
        while process.poll() is None:
            time.sleep(0.1)
            files = [path for path in place.settings.results.rglob("*") if path.is_file()]
            with suppress(IndexError, FileNotFoundError):  # there is none yet, or it was renamed just now
                now = time.time() + chance.choice((-86400, 86400))
                os.utime(chance.choice(files), (now, now))
                jumps += 1
        assert process.returncode == 0, process.said()[-300:]
        restarts = process.said().count("starting it again")
    assert not restarts, f"{restarts} needless restarts"
    place.note(1, **{"jumps of files' times": jumps, "needless restarts": restarts})


@pytest.mark.drill
def test_two_sweeps(place):
    """Two sweeps over the same table at once."""
    made = []
    with place.started(place.sweep()) as first, place.started(place.sweep()) as second:
        for process in (first, second):
            assert process.wait(PATIENCE) == 0, process.said()[-300:]
            made.append(re.findall(r"^(\S+): trained", process.said(), re.MULTILINE))
    assert sorted(made[0] + made[1]) == sorted(RUNS), f"trained {made}"
    place.note(1, trainings_of_the_first=len(made[0]), of_the_second=len(made[1]))


@pytest.mark.drill
def test_hang(place):
    """SIGSTOP to a training under a sweep with TIMEOUT: it is ended and started again."""
    with place.started(place.sweep(timeout=TIMEOUT)) as process:
        until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
        os.kill(training(place), signal.SIGSTOP)
        seconds = until(lambda: "starting it again" in process.said(), "the hang is noticed")
        assert process.wait(PATIENCE) == 0, process.said()[-300:]
        message = line(process.said(), "starting it again")
    place.note(1, message, TIMEOUT=TIMEOUT, seconds_until_started_again=seconds)


@pytest.mark.drill
def test_ctrl_C(place):
    """Ctrl-C of a sweep, in a training and in an evaluation."""
    seconds = []
    for under_way in (lambda: lines(place.run()) > 0.2 * ROWS, lambda: trained(place.run()) and at_work(place.run())):
        with place.started(place.sweep()) as process:
            until(under_way, "the sweep comes some way")
            seconds.append(process.end(signal.SIGINT, TryLaterError.status))
            message = line(process.said(), "stopped;")
    place.note(len(seconds), message, **{"seconds until exit, at most": max(seconds)})


@pytest.mark.drill
def test_killed_sweep(place):
    """SIGKILL to a sweep: its training ends by itself, the next sweep goes on."""
    with place.started(place.sweep()) as process:
        until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
        process.end(signal.SIGKILL, -signal.SIGKILL)
        seconds = until(lambda: pid_of(place, RUNS[0]) is None, "the training ends")
        message = line(process.said(), "told to stop")
    place.note(1, message, seconds_until_its_training_has_ended=seconds)


@pytest.mark.drill
def test_ray_worker(place):
    """Ray with two pretend GPUs; SIGKILL to the worker that is at a training."""
    require_ray(place)
    with place.started(place.sweep(engine="ray", gpus=2)) as process:
        lost(place, process, lambda: os.kill(parent(training(place)), signal.SIGKILL))


@pytest.mark.drill
def test_ray_node(place):
    """A Ray cluster of two nodes; the one that is at a training dies."""
    require_ray(place)
    from ray.cluster_utils import Cluster  # here, because it is optional

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    place.held.callback(cluster.shutdown)
    node = cluster.add_node(num_cpus=2, num_gpus=0)

    def kill() -> None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, num_gpus=0)

    with place.started(place.sweep(engine="ray"), RAY_ADDRESS=cluster.address) as process:
        lost(place, process, kill)


def lost(place: Place, process: Process, kill: Callable[[], None]) -> None:
    """Kill what runs the first run under Ray. Measured: until it is started again. A killed node says nothing more."""
    until(lambda: lines(place.run()) > 0.2 * ROWS, "the training comes some way")
    first, began = training(place), time.monotonic()
    kill()
    until(lambda: pid_of(place, RUNS[0]) not in (None, first), "it is started again")
    seconds = time.monotonic() - began
    assert process.wait(PATIENCE) == 0, process.said()[-300:]
    messages = [text for text in process.said().splitlines() if "told to stop" in text]
    place.note(1, "".join(messages[:1]), seconds_until_started_again=seconds)


def require_ray(place: Place) -> None:
    if not importlib.util.find_spec("ray"):
        cannot(place, "Ray is not installed")


# --- What drills have found, and holds now ----------------------------------------------------------------------------


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    (tmp_path / "generators").mkdir()
    asides = [tmp_path / "checkpoint.new.pt.1.tmp", tmp_path / "generators" / "10.safetensors.1.tmp"]
    for path in (*asides, tmp_path / "checkpoint.new.pt"):
        path.touch()
    with record.locked(tmp_path):
        assert not any(path.exists() for path in asides) and (tmp_path / "checkpoint.new.pt").exists()


def test_a_log_on_a_full_disk_is_one_line():
    log = Log.__new__(Log)
    log.file = Path("/dev/full")
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device"):
        log.write(iteration=1)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for write in (lambda: record.locked(tmp_path / "file" / "run").__enter__(),
                  lambda: record.write_bytes(tmp_path / "file" / "x", b"")):
        with pytest.raises(InputError, match=f"cannot write .*{tmp_path}/file/"):
            write()


def test_an_error_is_not_hidden_by_that_of_noting_it(tmp_path):
    with pytest.raises(ZeroDivisionError), record.failures_noted(tmp_path):
        (tmp_path / "failed.json").mkdir()
        raise ZeroDivisionError


def test_where_no_checkpoint_is_whole_the_training_begins_anew_and_says_so(tmp_path, capsys):
    assert checkpoint.load(tmp_path, {}) == (0, 0.0) and not capsys.readouterr().err
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        checkpoint.write(tmp_path / name, {"run": tmp_path.name, "step": 5, "seconds": 1.0})
    assert checkpoint.load(tmp_path, {}) == (5, 1.0)
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        flip_a_bit(tmp_path / name)
    assert checkpoint.load(tmp_path, {}) == (0, 0.0)
    said = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt is damaged" in said[0] and "prev.pt is damaged" in said[1] and "begins anew" in said[2]

"""What METHOD names: something to set beside the baselines of a table, without an edit of this project.

METHOD is a registered regularizer ("diggan", "lecam0.3"), an augmentation, a file of your own that defines one subclass
of baselines.regularizers.Regularizer ("path/to/mine.py", "path/to/mine.py5"), or several of these joined by +. A number
is the weight; without one it is the regularizer's default_weight. Every regularizer is held to the contract first.

A file is a stranger's program: it may print, loop, or end the process. So the sweep has it read in a process of its own
(`python -m reproduce.methods FILE METHOD` writes to FILE what METHOD names), which has LIMIT seconds.
`python -m reproduce.methods name METHOD=...` prints what a METHOD that has been swept is called in run ids.
"""

import io
import json
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.runs import InputError, Run, command
from benchmarks.state import read_json, write_whole
from benchmarks.tables import is_gradgap
from reproduce.cell import answered
from reproduce.settings import Settings

LIMIT = 60.0  # seconds in which a file must be loaded and checked
NAMES = "sweeps/methods.json"  # in the results folder
FILE = re.compile(r"(?P<file>.+\.py)_?(?P<weight>\d+(\.\d+)?)?")


@dataclass(frozen=True)
class Method:
    """What stands in the place of the baseline's regularizers and augmentation."""

    regularizers: Mapping[str, float]
    augment: str

    @property
    def name(self) -> str:
        """As in run ids: "mine5-diffaugment"."""
        return self.of(Run("model", "dataset", 32)).method

    def of(self, baseline: Run) -> Run:
        """The same run with this method."""
        return replace(baseline, regularizers=dict(self.regularizers), augment=self.augment)


def compared(rows: list[Run], method: Method) -> list[Run]:
    """Each baseline among `rows` and the method in its place, then what has the paper's regularizer alone."""
    chosen = {}
    for run in rows:
        if run.is_baseline:
            own = method.of(run)
            chosen |= {run.id: run, own.id: own}
    for run in rows:
        if is_gradgap(run):
            chosen[run.id] = run
    return list(chosen.values())


# --- Reading, in this process -----------------------------------------------------------------------------------------
# torch takes seconds to load, so what needs it is imported where it is used


def read(text: str) -> Method:
    """The method that a text names; a file's regularizer is registered. Raises InputError for what is none."""
    weights: dict[str, float] = {}
    augmentations = []
    for part in parts(text):
        if is_augmentation(part):
            augmentations.append(part)
            continue
        name, weight = _regularizer(part)
        if name in weights:
            raise InputError(f"METHOD={text}: {name} is there twice")
        weights[name] = weight
    if len(augmentations) > 1:
        raise InputError(f"METHOD={text}: at most one augmentation")
    return Method(weights, "".join(augmentations))


def parts(text: str) -> list[str]:
    """What is joined by + in a METHOD. A file's path may have a + in it: pieces are put together until there is one.

    Raises InputError for a part that is neither an augmentation, nor a regularizer, nor a file.
    """
    found, pieces = [], []
    for piece in text.split("+"):
        pieces.append(piece)
        part = "+".join(pieces)
        if is_augmentation(part) or _registered(part) or _is_there(part):
            found.append(part)
            pieces = []
    if pieces:
        raise _no_method(text, "+".join(pieces))
    return found


def _no_method(text: str, part: str) -> InputError:
    from baselines.augment import AUGMENTATIONS
    from baselines.regularizers import REGULARIZERS

    if _files(part):
        return InputError(f"METHOD={text}: there is no file {part}")
    return InputError(f"METHOD={text}: {part!r} is neither a file that ends in .py nor one of "
                      f"{', '.join([*REGULARIZERS, *filter(None, AUGMENTATIONS)])}")


def is_augmentation(part: str) -> bool:
    from baselines.augment import AUGMENTATIONS

    return part != "" and part in AUGMENTATIONS


def _files(part: str) -> list[Path]:
    """The file that a part names, if it has the form of one."""
    match = FILE.fullmatch(part)
    if not match:
        return []
    return [Path(match["file"])]


def _is_there(part: str) -> bool:
    return any(path.is_file() for path in _files(part))


def _registered(part: str) -> re.Match | None:
    """Name and weight, where that is the form of a registered regularizer."""
    from baselines.regularizers import REGULARIZERS

    names = "|".join(map(re.escape, REGULARIZERS))
    return re.fullmatch(rf"(?P<name>{names})_?(?P<weight>\d+(\.\d+)?)?", part)


def _regularizer(part: str) -> tuple[str, float]:
    """Name and weight of a regularizer, registered or in a file; it holds the contract."""
    from baselines.contract import Broken, check
    from baselines.regularizers import REGULARIZERS

    try:
        with redirect_stdout(io.StringIO()):  # what a file prints while it is loaded and checked goes nowhere
            name, weight = _registered_name(part)
            check(REGULARIZERS[name])
            return name, float(weight or REGULARIZERS[name]().default_weight)
    except Broken as error:
        raise InputError(f"METHOD={part}: {error}") from error


def _registered_name(part: str) -> tuple[str, str | None]:
    """Name and weight of a regularizer. One that is in a file is registered first."""
    from baselines.contract import register

    registered, file = _registered(part), FILE.fullmatch(part)
    if registered:
        return registered["name"], registered["weight"]
    require_free_name(Path(file["file"]))
    return register(Path(file["file"])), file["weight"]


def require_free_name(path: Path) -> None:
    """Raises InputError for a file whose name means something else in a run id."""
    if is_augmentation(path.stem) or path.stem == "baseline" or path.stem.endswith("_"):
        raise InputError(f"METHOD={path}: {path.stem} has another meaning in run ids; give the file another name")


def blamed(error: Exception, text: str) -> str:
    """One line on an error that was raised in a user's file of METHOD=text; "" for any other error."""
    if not text:
        return ""
    from baselines.contract import first_line

    files = set()
    for part in parts(text):
        files.update(path.resolve() for path in _files(part))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve() in files:
            return f"{frame.filename}, line {frame.lineno}: {first_line(error)}"
    return ""


def require_same_file(run: Run, results: Path) -> None:
    """Raises InputError where the run was begun with a file that has changed since."""
    from reproduce import names

    path = results / run.id / "config.json"
    if path.exists() and read_json(path).get("method_files", {}) != names.method_files(run):
        raise InputError(f"run {run.id} was begun with another file of that name; remove {path.parent} to begin anew, "
                         "or give the changed file a name of its own")


# --- Reading, in a process of its own ---------------------------------------------------------------------------------


def read_apart(text: str, limit: float = LIMIT) -> Method:
    """The method that a text names, read where it can do no harm. Raises InputError for what is none."""
    content, status = answered("reproduce.methods", [text], limit)
    if content and "error" in content:
        raise InputError(content["error"])
    if content:
        return Method(**content)
    if status is None:
        raise InputError(f"METHOD={text}: not loaded and checked within {limit:.0f} s")
    raise InputError(f"METHOD={text}: it ended its process, with status {status}")


# --- Its name, for those who show its runs ----------------------------------------------------------------------------


def note(method: Method, settings: Settings) -> None:
    """Leave a method's name in run ids in the results folder: nobody else knows the weight that a file has."""
    names = noted(settings) | {settings.method: method.name}
    write_whole(settings.results / NAMES, (json.dumps(names, indent=1) + "\n").encode())


def noted(settings: Settings) -> dict[str, str]:
    """METHOD -> its name in run ids, of the methods that were swept into this results folder."""
    try:
        return read_json(settings.results / NAMES)
    except InputError:
        return {}


def main() -> None:
    if sys.argv[1] == "name":
        settings = Settings.parse(sys.argv[2:])
        print(noted(settings).get(settings.method, settings.method))
    else:
        answer(*sys.argv[1:])


def answer(file: str, text: str) -> None:
    """Write to the file what the METHOD names, or why it is none."""
    try:
        content = asdict(read(text))
    except (InputError, OSError) as error:
        content = {"error": str(error)}
    Path(file).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    command(main)

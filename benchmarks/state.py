"""State files: written whole or not at all, and JSON objects checked key by key, with errors of one line."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import UnionType

from benchmarks.runs import InputError

Schema = Mapping[str, type | UnionType]  # key -> type of its value


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file or folder that takes its place at the end: nobody ever sees a part of it.

    When anything is raised, what was written is removed and what was there stays. Raises InputError for an OSError.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; what was there is unchanged") from error
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it."""
    with aside(path) as partial:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def read_json(path: Path, schema: Schema = {}, remedy: str = "") -> dict:  # noqa: B006
    """The JSON object in a file, which has at least the keys of the schema, with values of these types.

    Raises InputError where the file is missing, damaged or of another shape; `remedy` then says what the user can do.
    """
    try:
        found = parsed(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}){then(remedy)}") from error
    return typed(f"{path}", found, schema, remedy)


def parsed(text: str | bytes) -> object:
    """The JSON value in a text. Raises ValueError where it is none, or holds what could not be worked with or shown."""
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if r"\ud" in str(text).lower():
        json.dumps(value, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError, for half a character
    return value


def _whole(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def typed(where: str, found: object, schema: Schema, remedy: str = "") -> dict:
    """What was found, once it is known to be a dict that fits the schema. Raises InputError naming the first misfit."""
    if not isinstance(found, dict):
        raise InputError(f"{where}: not a JSON object{then(remedy)}")
    for key, kind in schema.items():
        if key not in found:
            raise InputError(f"{where}: {key!r} is missing{then(remedy)}")
        if not _is_a(found[key], kind):
            name = getattr(kind, "__name__", str(kind))
            raise InputError(f"{where}: {key!r} is {_short(found[key])}, must be of type {name}{then(remedy)}")
        if isinstance(found[key], float) and not math.isfinite(found[key]):
            raise InputError(f"{where}: {key!r} is {found[key]}, must be a finite number{then(remedy)}")
    return found


def _is_a(value: object, kind: type | UnionType) -> bool:
    """isinstance, but True and False are no numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _short(value: object) -> str:
    text = repr(value)
    if len(text) > 40:
        text = f"{text[:37]}..."
    return text


def then(remedy: str) -> str:
    """The end of an error that says what the user can do; "" where there is nothing to say."""
    if not remedy:
        return ""
    return f"; {remedy}"

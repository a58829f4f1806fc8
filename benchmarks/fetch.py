"""Download one file: resumed after an interruption, checked, and never half there under its own name."""

import fcntl
import hashlib
import http.client
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from tqdm import tqdm

from benchmarks.runs import InputError

DEAD = {  # addresses that papers and readmes still give; not tried
    "data-efficient-gans.mit.edu": "its AnimalFace and 100-shot archives are gone (404)",
    "github.com/odegeasslbc": "the account was taken over; it is not FastGAN's authors any more",
}
SCHEMES = ("https", "http")
BLOCK = 1 << 20  # bytes


def fetch(url: str, folder: Path, checksum: str = "") -> Path:
    """The file at `url`, under its own name in `folder`; fetched only if it is not there yet.

    What has come so far is kept as .<name>.part and continued next time, unless the server has another version by then.
    Of several processes that ask at once, one fetches and the others wait for it. The checksum is an MD5 or a SHA-256,
    as published. Raises InputError where the address is known to be dead, does not answer, or gives another file.
    """
    _require_alive(url)
    _require_address(url)
    target = folder / _file_name(url)
    if target.exists():
        return target
    part = folder / f".{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not target.exists():
                _receive(url, part)
                _check(url, part, checksum)
                part.rename(target)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error  # an OSError that is a URLError has its cause there
        raise InputError(f"{url}: {reason}; the same command goes on") from error
    finally:
        _remove_if_empty(part)
    return target


def _file_name(url: str) -> str:
    return PurePosixPath(urlparse(url).path).name or "download"


def _remove_if_empty(file: Path) -> None:
    if file.exists() and not file.stat().st_size:
        file.unlink()


def _require_alive(url: str) -> None:
    """Raises InputError where the address is known to be dead."""
    for address, reason in DEAD.items():
        if address in url:
            raise InputError(f"{url}: not tried, {reason}")


def _require_address(url: str) -> None:
    """Raises InputError where the address is none of the web."""
    try:
        parts = urlparse(url)
    except ValueError as error:
        raise InputError(f"{url}: not an address ({error})") from error
    if parts.scheme not in SCHEMES:
        raise InputError(f"{url}: not an address of {' or '.join(SCHEMES)}; give the path of a file instead")


def _receive(url: str, part: Path) -> None:
    """Bring a part to its full length: the server sends the rest if it still has the version of the first bytes."""
    version = part.with_suffix(".version")  # the server's tag of the version that the part belongs to
    have = _length(part, version)
    with _answer(url, have, version) as answer:
        if answer.status != 206:  # the whole file comes, from its start
            have = 0
        total = have + int(answer.headers["Content-Length"] or 0)
        tag = answer.headers["ETag"] or answer.headers["Last-Modified"]
        if tag:
            version.write_text(tag)
        _save(answer, part, have, total)
    if total and part.stat().st_size != total:
        raise OSError(f"the connection broke after {part.stat().st_size} of {total} bytes")
    version.unlink(missing_ok=True)


def _length(part: Path, version: Path) -> int:
    """The bytes of a part that can be continued: it is known to which version they belong."""
    if part.exists() and version.exists():
        return part.stat().st_size
    return 0


def _answer(url: str, have: int, version: Path) -> http.client.HTTPResponse:
    """The server's answer to the request for what follows the first bytes."""
    headers = {}
    if have:
        headers = {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)


def _save(answer: http.client.HTTPResponse, part: Path, have: int, total: int) -> None:
    """Write what the server sends behind the first `have` bytes of the part, with a bar to `total`, 0 if unknown."""
    mode = "wb"
    if have:
        mode = "ab"
    name = part.name[1:-5]
    with (
        part.open(mode) as file,
        tqdm(desc=name, initial=have, total=total or None, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while block := answer.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def _check(url: str, part: Path, checksum: str) -> None:
    """Delete a file that has not the published checksum, 64 digits of SHA-256 or else MD5, and raise InputError."""
    kind = "md5"
    if len(checksum) == 64:
        kind = "sha256"
    with part.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if checksum and found != checksum:
        part.unlink()
        raise InputError(f"{url}: not the published file ({kind} {found}, expected {checksum})")

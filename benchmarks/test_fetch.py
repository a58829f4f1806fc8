"""Downloads, from a small server on this machine that breaks off, changes its file, or gives the wrong one."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from benchmarks.fetch import DEAD, fetch
from benchmarks.runs import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves server.content with ranges and a tag; breaks off after server.limit bytes."""

    def do_GET(self):
        content, tag = self.server.content, hashlib.md5(self.server.content).hexdigest()
        start = 0
        if "Range" in self.headers and self.headers["If-Range"] == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        self.send_response(404 if self.path == "/gone.zip" else 206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(content[start : start + self.server.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.limit, server.starts = CONTENT, len(CONTENT), []
        server.url = f"http://127.0.0.1:{server.server_port}/set.zip"
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_file_comes_whole_and_once(server, tmp_path):
    for _ in range(2):
        assert fetch(server.url + "?download=1", tmp_path / "new", MD5).read_bytes() == CONTENT
    assert server.starts == [0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set.zip"]


def test_broken_download_goes_on_where_it_was(server, tmp_path):
    server.limit = 100_000
    for _ in range(2):
        with pytest.raises(InputError, match="the same command goes on"):
            fetch(server.url, tmp_path, MD5)
        assert not (tmp_path / "set.zip").exists()
    assert fetch(server.url, tmp_path, MD5).read_bytes() == CONTENT
    assert server.starts == [0, 100_000, 200_000]


def test_another_version_on_the_server_is_begun_anew(server, tmp_path):
    server.limit = 100_000
    with pytest.raises(InputError):
        fetch(server.url, tmp_path)
    server.content, server.limit = CONTENT[::-1], len(CONTENT)
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT[::-1]
    assert server.starts == [0, 0]


def test_wrong_file_is_not_kept(server, tmp_path):
    server.content = b"<html>sign in first</html>"
    with pytest.raises(InputError, match="not the published file"):
        fetch(server.url, tmp_path, MD5)
    assert not list(tmp_path.iterdir())


def test_missing_file_and_missing_server(server, tmp_path):
    with pytest.raises(InputError, match="gone.zip: .*Not Found"):
        fetch(server.url.replace("set.zip", "gone.zip"), tmp_path)
    with pytest.raises(InputError, match="http://127.0.0.1:9/set.zip: .*refused"):
        fetch("http://127.0.0.1:9/set.zip", tmp_path)


def test_several_at_once_fetch_once(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(server.url, tmp_path, SHA256), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT} and server.starts == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/set.zip", "http://[::1"])
def test_only_the_web_is_fetched_from(tmp_path, url):
    with pytest.raises(InputError, match="not an address"):
        fetch(url, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", DEAD)
def test_dead_address_is_not_tried(tmp_path, address):
    with pytest.raises(InputError, match="not tried"):
        fetch(f"https://{address}/datasets/100-shot-obama.zip", tmp_path)

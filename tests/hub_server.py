"""A server that speaks as much of the Hugging Face Hub's API as it takes to read a public data set.

`python hub_server.py FOLDER` prints its port. FOLDER/OWNER/NAME holds the files of the data set OWNER/NAME.
"""

import hashlib
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" * 6 + "c0ff"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The URL of a server process of the data sets in `folder`."""
    server = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()


class Hub(BaseHTTPRequestHandler):
    """Repositories' revisions, trees, paths and files."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        """Answer for a data set or one of its files."""
        parts = [urllib.parse.unquote(part) for part in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"]:
            self._api(parts[2:], [])
        elif parts[0] == "datasets" and parts[3] == "resolve":
            self._file(self.folder.joinpath(*parts[1:3], *parts[5:]))
        else:
            self._send(404, b"")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer for the paths of a data set."""
        parts = [urllib.parse.unquote(part) for part in self.path.strip("/").split("/")]
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._api(parts[2:], urllib.parse.parse_qs(body).get("paths", []))

    def _api(self, parts: list[str], paths: list[str]) -> None:
        root = self.folder.joinpath(*parts[:2])
        kind = parts[2] if len(parts) > 2 else "revision"
        if not root.is_dir() or (len(parts) > 3 and parts[3] not in ("main", COMMIT)):
            self._send(404, b"{}", **{"X-Error-Code": "RepoNotFound" if not root.is_dir() else "RevisionNotFound"})
        elif kind == "revision":
            self._json({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": [], "private": False, "tags": []})
        elif kind == "paths-info":
            self._json([_entry(root, root / path) for path in paths if (root / path).exists()])
        else:
            below = root.joinpath(*parts[4:])
            recursive = "recursive=true" in self.path.lower()
            found = sorted(below.rglob("*") if recursive else below.iterdir()) if below.is_dir() else []
            if below.is_dir():
                self._json([_entry(root, path) for path in found])
            else:
                self._send(404, b"{}", **{"X-Error-Code": "EntryNotFound"})

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, b"", **{"X-Error-Code": "EntryNotFound"})
            return
        data, wanted = path.read_bytes(), self.headers.get("Range", "")
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), min(int(last) + 1 if last else len(data), len(data))
        headers = {"ETag": f'"{_blob(data)}"', "X-Repo-Commit": COMMIT}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(206 if wanted else 200, data[start:stop], **headers)

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(root: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "oid": _blob(name.encode()), "size": 0, "path": name}
    data = path.read_bytes()
    last = {"id": COMMIT, "title": "", "date": "2026-01-01T00:00:00.000Z"}
    return {"lastCommit": last, "type": "file", "oid": _blob(data), "size": len(data), "path": name}


def _blob(data: bytes) -> str:
    """As git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


if __name__ == "__main__":
    Hub.folder = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()

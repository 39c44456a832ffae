"""An HTTP server in a thread that can resume or not, and can break off."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves `content` under any path but /missing.

    Attributes:
        resumes: whether it understands Range.
        breaks_after: bytes after which an answer is cut off, or None.
        says_length: whether it tells the length beforehand.
        ranges: the Range header of each request so far, or None.
    """

    content: bytes
    resumes: bool = True
    breaks_after: int | None = None
    says_length: bool = True
    ranges: list[str | None] = field(default_factory=list)
    address: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """`server.address` is where it listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.ranges.append(asked)
            if self.path == "/missing":
                self.send_error(404)
                return
            begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.resumes else 0
            if begin >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
            if server.says_length:
                self.send_header("Content-Length", str(len(server.content) - begin))
            self.end_headers()
            self.wfile.write(server.content[begin : server.breaks_after])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.address = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()

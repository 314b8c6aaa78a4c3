"""A web server on this machine, in a thread, that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Iterator

__all__ = ["WebServer", "serve"]


@dataclasses.dataclass
class WebServer:
    """What a server gives, and what it was asked for.

    Attributes:
        files: bodies by path, `/` in front.
        redirects: addresses by path.
        takes_ranges: whether ranges are answered; else the whole file comes.
        cut_bytes: sent of a body before the connection is closed; for each answer the next.
        ranges: the `Range` of each request, "" without.
    """

    address: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    redirects: dict[str, str] = dataclasses.field(default_factory=dict)
    takes_ranges: bool = True
    cut_bytes: list[int] = dataclasses.field(default_factory=list)
    ranges: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def serve() -> Iterator[WebServer]:
    """A running server."""
    state = WebServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.ranges.append(asked)
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path not in state.files:
                self.send_error(404)
                return
            body, begin = state.files[self.path], 0
            if asked and state.takes_ranges:
                begin = int(asked.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - begin))
            self.end_headers()
            rest = body[begin:]
            self.wfile.write(rest[: state.cut_bytes.pop(0)] if state.cut_bytes else rest)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

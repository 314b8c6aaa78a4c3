"""Runs models in onnxruntime-web, WebAssembly in headless Chromium, from a server of our own."""

from __future__ import annotations

import http.server
import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

JAVASCRIPT = Path(__file__).parent / "javascript"
DISTRIBUTION = JAVASCRIPT / "node_modules" / "onnxruntime-web" / "dist"
TYPES = {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm"}
TIMEOUT_S = 120


class PageServer(http.server.ThreadingHTTPServer):
    """Serves the page, its scripts, models and an input; keeps what the page posts."""

    def __init__(self, models: Sequence[Path], source: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "/page.html": JAVASCRIPT / "page.html",
            **{f"/model/{index}": path for index, path in enumerate(models)},
            "/input": source,
            **{f"/ort/{path.name}": path for path in DISTRIBUTION.iterdir()},
        }
        self.posted: dict[str, bytes] = {}
        self.done = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        path = self.server.files.get(self.path.partition("?")[0])
        body = path.read_bytes() if path else b""
        self.send_response(200 if path else 404)
        self.send_header("Content-Type", TYPES.get(path.suffix if path else "", "text/plain"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.posted[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        if self.path in ("/done", "/error"):
            self.server.done.set()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def run_in_browser(
    chromium: str, models: Sequence[Path], source: Path, dims: tuple[int, ...]
) -> list[np.ndarray]:
    """Gives of each model all outputs, one behind the other, float32.

    Args:
        chromium: path of the browser.
        models: models with one input, each for the same.
        source: float32 values of the input.
        dims: shape of the input.

    Raises:
        RuntimeError: the page met an error, or gave nothing in time.
    """
    with PageServer(models, source) as server, tempfile.TemporaryDirectory() as profile:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        query = f"dims={','.join(map(str, dims))}&models={len(models)}"
        address = f"http://127.0.0.1:{server.server_port}/page.html?{query}"
        options = ["--headless", "--no-first-run", "--disable-gpu", f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium refuses to run as root with it
        browser = subprocess.Popen(
            [chromium, *options, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server.done.wait(TIMEOUT_S)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
            thread.join()
    posted = [server.posted.get(f"/output/{index}") for index in range(len(models))]
    outputs = [np.frombuffer(values, np.float32) for values in posted if values is not None]
    if len(outputs) < len(models):
        raise RuntimeError(server.posted.get("/error", b"the page gave nothing in time").decode())
    return outputs

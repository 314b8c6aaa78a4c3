"""Files from the network: whole, of the right size and checksum, or not at all."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from wl_onnx.errors import InputError
from wl_onnx.files import hash_file
from wl_onnx.version import __version__
from wl_onnx.zoo.entry import is_url

__all__ = ["DownloadProgress", "download", "fetch_bytes"]

DownloadProgress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are there, and the bytes that it has in all."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_MAX_ATTEMPTS = 4

_NETWORK_ERRORS = (OSError, http.client.HTTPException)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other web addresses, from https to https alone."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> urllib.request.Request | None:
        if not is_url(newurl) or (
            req.full_url.startswith("https://") and not newurl.startswith("https://")
        ):
            fp.close()
            raise InputError(
                f"cannot download {req.full_url}: a redirect must lead to "
                f"{'https://' if req.full_url.startswith('https://') else 'http(s)://'}, "
                f"got {newurl}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size_bytes: int,
    progress: DownloadProgress | None = None,
) -> None:
    """Downloads a file; one that was cut short before goes on where it ended.

    What is not there yet waits in `<target>.part`, which only becomes the target once all is right.

    Args:
        url: its address, http or https.
        target: where it goes; its folder exists.
        sha256: of the file, in hex.
        size_bytes: of the file.
        progress: called with each part that came.

    Raises:
        InputError: the address cannot be loaded from, the file is cut short again and again, or it
            is another one than it should be.
    """
    part = target.with_name(f"{target.name}.part")
    problem = ""
    for attempt in range(_MAX_ATTEMPTS):
        before = _size(part)
        if before > size_bytes:
            part.unlink()
            before = 0
        if before < size_bytes:
            problem = _receive(url, part, before, size_bytes, progress, target.name)
        if _size(part) >= size_bytes:
            break
        if attempt == _MAX_ATTEMPTS - 1 or (_size(part) <= before and attempt > 0):
            raise InputError(
                f"cannot download {url}: it must have {size_bytes} bytes, got {_size(part)} "
                f"({problem}); the next try goes on from there"
            )
    found_bytes = _size(part)
    found = hash_file(part)
    if found_bytes != size_bytes or found != sha256:
        part.unlink()
        raise InputError(
            f"cannot use {url}: its SHA-256 must be {sha256}, got {found} of {found_bytes} bytes"
        )
    part.replace(target)


def fetch_bytes(url: str, *, max_bytes: int) -> bytes:
    """A small file from the network.

    Args:
        url: its address, http or https.
        max_bytes: most that it may have.

    Raises:
        InputError: it cannot be loaded, or is larger.
    """
    try:
        with _open(url, {}) as response:
            data = response.read(max_bytes + 1)
            declared = response.headers.get("Content-Length")
    except _NETWORK_ERRORS as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _failure(url, error) from error
    if len(data) > max_bytes:
        raise InputError(f"cannot download {url}: it must have at most {max_bytes} bytes, got more")
    if declared is not None and declared.isdigit() and len(data) != int(declared):
        raise InputError(
            f"cannot download {url}: it must have {declared} bytes, got {len(data)}; try again"
        )
    return bytes(data)


def _receive(
    url: str,
    part: Path,
    begin: int,
    size_bytes: int,
    progress: DownloadProgress | None,
    name: str,
) -> str:
    """Adds what comes to the part, at most one byte too many; gives why it ended early."""
    try:
        with _open(url, {"Range": f"bytes={begin}-"} if begin else {}) as response:
            goes_on = response.status == 206 and _range_begin(response) == begin
            done = begin if goes_on else 0
            with part.open("ab" if goes_on else "wb") as file:
                # A byte more than there should be is enough to know that it is another file.
                while chunk := response.read(min(_CHUNK_BYTES, size_bytes + 1 - done)):
                    file.write(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(name, done, size_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and begin:  # the server's file is shorter than what is here
            part.unlink()
            return "the range was refused"
        raise _failure(url, error) from error
    except urllib.error.URLError as error:
        if begin or _size(part):
            return str(error.reason)
        raise _failure(url, error) from error
    except _NETWORK_ERRORS as error:
        return str(error) or type(error).__name__
    return "it was cut short"


def _range_begin(response: Any) -> int | None:
    """The first byte of an answer to a range, as `Content-Range: bytes 5-9/10` says it."""
    unit, _, span = (response.headers.get("Content-Range") or "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def _open(url: str, headers: dict[str, str]) -> Any:
    """Opens an address with handlers for the web alone: no files, no FTP."""
    if not is_url(url):
        raise InputError(f"cannot download {url}: it must begin with https:// or http://")
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(  # noqa: S310
            url, headers={"User-Agent": f"wl-onnx/{__version__}", **headers}
        )
        response: IO[bytes] | None = opener.open(request, timeout=_TIMEOUT_S)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot download {url}: it must be an address, got {error}") from error
    return response


def _failure(url: str, error: BaseException) -> InputError:
    if isinstance(error, urllib.error.HTTPError):
        return InputError(
            f"cannot download {url}: the server must give it, got {error.code} {error.reason}"
        )
    reason = getattr(error, "reason", None) or error
    return InputError(
        f"cannot download {url}: the server must answer, got {reason}; without a network, name "
        "files or folders"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

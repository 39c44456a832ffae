"""Fetching a file whose hash is known: resumed where it broke off, and under its own name only once it is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from keytrack_ros.errors import ModelError, OutputError
from keytrack_ros.inference.cards import file_sha256

Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that there will be (None if the server does not say)."""

_BLOCK = 1 << 17
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RANGE_NOT_SATISFIABLE = 416


def download(url: str, file: Path, sha256: str, report: Report, timeout_s: float = 30) -> None:
    """Fetches `url` as `file`. What has arrived waits in `file` + `.part` and is not fetched again.

    Args:
        url: http or https address.
        file: where it goes; its folder is made if needed.
        sha256: its SHA-256, or the first digits.
        report: called as it grows.
        timeout_s: longest silence of the server, seconds.

    Raises:
        ModelError: the server cannot be reached or breaks off (what has arrived is kept), or the file is not the one
            with that hash (it is deleted).
        OutputError: there is no room for it, or it cannot be written; what has arrived is deleted.
    """
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            _receive(url, stream, file, report, timeout_s)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        full = error.errno in _NO_SPACE
        if full:
            part.unlink(missing_ok=True)
        what = "no room for it on the disk; what had arrived was deleted" if full else error.strerror
        raise OutputError(f"{file}: {what}") from None
    except ModelError:
        if part.stat().st_size == 0:
            part.unlink()
        raise
    try:
        check_sha256(part, sha256, file.name)
    except ModelError:
        part.unlink()
        raise
    part.replace(file)


def check_sha256(path: Path, sha256: str, name: str) -> None:
    """Raises ModelError, with the name, unless the file's SHA-256 begins with `sha256`."""
    found = file_sha256(path)
    if not found.startswith(sha256):
        whole = "" if len(sha256) == len(found) else "…"
        raise ModelError(f"{path}: damaged or not {name}: SHA-256 is {found}, expected {sha256}{whole}; get it again")


def _receive(url: str, stream: BinaryIO, file: Path, report: Report, timeout_s: float) -> None:
    """Appends to `stream` what it lacks of `url`; from the beginning where the server cannot resume."""
    have = stream.tell()
    response = _answer(url, have, file, timeout_s)
    if response is None:
        return  # nothing is left to be sent
    with response:
        if have and response.status != 206:
            stream.truncate(0)
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        while True:
            report(have, total)
            block = _read(response, url, have, total)
            if not block:
                break
            stream.write(block)
            have += len(block)
    if total is not None and have < total:
        raise _broken_off(url, have, total)


def _answer(url: str, have: int, file: Path, timeout_s: float) -> HTTPResponse | None:
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response: HTTPResponse = urlopen(request, timeout=timeout_s)
    except HTTPError as error:
        if have and error.code == _RANGE_NOT_SATISFIABLE:
            return None
        reason = f"{error.code} {error.reason}"
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        reason = str(getattr(cause, "strerror", None) or cause)
    else:
        return response
    raise ModelError(
        f"{url}: {reason}; if this machine has no way there, bring the file by hand as {file} and run the command again"
    )


def _read(response: HTTPResponse, url: str, have: int, total: int | None) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException):
        raise _broken_off(url, have, total) from None


def _broken_off(url: str, have: int, total: int | None) -> ModelError:
    return ModelError(
        f"{url}: broke off after {have} of {total or 'unknown'} bytes; run the command again, it goes on from there"
    )

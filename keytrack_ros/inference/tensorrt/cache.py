"""Engines on disk, each with a JSON sidecar that records what it was built for; written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keytrack_ros.errors import OutputError
from keytrack_ros.inference.session import BackendError
from keytrack_ros.inference.tensorrt.plan import EnginePlan, engines_folder

_LOOK_AGAIN_S = 0.2


class MissingEngineError(BackendError):
    """There is no usable engine for the plan; it can be built."""


def sidecar(engine: Path) -> Path:
    """The JSON file that belongs to an engine."""
    return engine.with_name(engine.name + ".json")


def read_engine(plan: EnginePlan) -> bytes:
    """The stored engine of the plan.

    Raises MissingEngineError if there is none, or it is damaged or was built for something else.
    """
    try:
        about = json.loads(sidecar(plan.file).read_text(encoding="utf-8"))
        engine = plan.file.read_bytes()
    except FileNotFoundError:
        raise MissingEngineError(
            f"there is no {plan.precision} engine of {plan.network.name} for this GPU and {plan.library}; "
            "`keytrack build-engines` makes it"
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(plan, " ".join(str(error).split())) from None
    if not isinstance(about, dict) or about.get("made_for") != json.loads(json.dumps(dict(plan.made_for))):
        raise _unusable(plan, "its sidecar says that it was built for something else")
    if about.get("sha256") != hashlib.sha256(engine).hexdigest():
        raise _unusable(plan, "it is damaged")
    return engine


def write_engine(plan: EnginePlan, engine: bytes, about: Mapping[str, Any]) -> None:
    """Stores an engine; `about` goes into its sidecar. Raises OutputError if it cannot be written."""
    content = {
        "key": plan.key,
        "made_for": dict(plan.made_for),
        "network": plan.network.name,
        "sha256": hashlib.sha256(engine).hexdigest(),
        "bytes": len(engine),
        **about,
    }
    # The sidecar is written last: an engine without one is ignored.
    sidecar(plan.file).unlink(missing_ok=True)
    write_whole(plan.file, engine)
    write_whole(sidecar(plan.file), (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def remove_engine(plan: EnginePlan) -> None:
    """Removes an engine from the cache. Raises OutputError if it cannot be removed."""
    try:
        for file in (sidecar(plan.file), plan.file):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(plan.file, error) from None


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all. Raises OutputError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f"{file.name[:100]}.", suffix=".part", dir=file.parent)
    except OSError as error:
        raise _unwritable(file, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(part).replace(file)
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        Path(part).unlink(missing_ok=True)


@contextmanager
def building(stop: threading.Event) -> Iterator[None]:
    """The build lock: one build at a time for all processes and threads that share the folder.

    Two at once would build one engine twice, and disturb the timings by which TensorRT chooses kernels.

    Raises:
        OutputError: the folder cannot be written to; known before minutes are spent.
        BackendError: `stop` was set while waiting for another build.
    """
    file = engines_folder() / "building.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("w")
    except OSError as error:
        raise _unwritable(file, error) from None
    with stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise _unwritable(file, error) from None
            if stop.wait(_LOOK_AGAIN_S):
                raise BackendError("stopped while waiting for another build")
        yield


def _unusable(plan: EnginePlan, reason: str) -> MissingEngineError:
    return MissingEngineError(f"{plan.file}: {reason}; `keytrack build-engines` builds it again")


def _unwritable(file: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{file}: {error.strerror}; engines need a folder that can be written to, with some hundred MB free: "
        "make room, or set XDG_CACHE_HOME to another"
    )

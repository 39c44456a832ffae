"""Records of JSON files of other people: each value is checked where it is taken, and errors say where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keytrack_ros.errors import InputError
from keytrack_ros.poses import FloatArray

_KINDS = {dict: "an object", list: "a list", int: "an integer", str: "a text"}


def load_json(path: Path) -> Any:
    """The content of a JSON file, also of one with a byte order mark.

    Raises InputError, naming the file, if it cannot be read, is empty, or is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file, so no PoseTrack JSON") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON, or cut off: {error.msg} in line {error.lineno}") from None
    except (RecursionError, ValueError) as error:  # thousands of brackets, or of digits in one number
        raise InputError(f"{path}: not JSON of annotations: {error}") from None


def only(value: Any) -> Any:
    """What PoseTrack 2017 wraps into a list of one; None for an empty list."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def get(record: dict[str, Any], key: str, kind: type, here: str) -> Any:
    if key not in record:
        raise InputError(f"{here}: '{key}' is missing")
    return of_kind(record[key], kind, f"{here}: '{key}'")


def of_kind(value: Any, kind: type, here: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{here}: {shortened(value)} is not {_KINDS[kind]}")
    return value


def numbers(values: Any, count: int, here: str) -> FloatArray:
    if not isinstance(values, list) or len(values) != count:
        size = f"{len(values)} numbers" if isinstance(values, list) else shortened(values)
        raise InputError(f"{here}: {size} found; {count} numbers are needed")
    try:
        return np.array(values, np.float64).reshape(count)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{here}: {shortened(values)} are not numbers") from None


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"

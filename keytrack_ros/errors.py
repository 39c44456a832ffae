"""Errors that a user can cause and fix. Each message is one line: what was wrong, where, and the way out."""


class KeytrackError(Exception):
    """Base of all errors below: catch this one and show its text."""


class OptionError(KeytrackError, ValueError):
    """An option or parameter has an invalid value."""


class ModelError(KeytrackError):
    """A network or its model file is missing, damaged, or does not match its description."""


class InputError(KeytrackError):
    """A video, image, folder, bag or message cannot be read."""


class DataError(KeytrackError):
    """Training data or annotations are missing or malformed."""


class OutputError(KeytrackError):
    """A result cannot be written."""


class EvaluationError(KeytrackError):
    """Predictions cannot be scored against annotations: they belong to other recordings, or a metric is undefined."""

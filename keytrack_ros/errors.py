"""The errors that a user can cause and mend. Each message is one line: what was wrong, where, and the way out."""


class KeytrackError(Exception):
    """Base of all errors below: a program may catch this one and show its text."""


class OptionError(KeytrackError, ValueError):
    """An option or parameter has a value that it may not have."""


class ModelError(KeytrackError):
    """A network or its model file is missing, damaged, or not what it says it is."""


class InputError(KeytrackError):
    """A video, image, folder, bag or message cannot be read as what it should be."""


class DataError(KeytrackError):
    """Training data or annotations are missing or malformed."""


class OutputError(KeytrackError):
    """A result cannot be written where it should be."""


class EvaluationError(KeytrackError):
    """Predictions cannot be scored against annotations: they do not belong together, or a measure is missing."""

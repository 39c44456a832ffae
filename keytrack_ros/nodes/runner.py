"""How every node's process starts and ends: errors as one line, signals as an orderly shutdown."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import remove_ros_args

from keytrack_ros.errors import KeytrackError
from keytrack_ros.nodes.parameter_files import without_effect

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S = 1.0
_REPEAT_S = 10.0
_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8  # of glibc's malloc.h


class Ending:
    """Ends a node's process; called by signals, by the node itself, or by any of its threads."""

    def __init__(self) -> None:
        self.future = Future()
        self._lock = threading.Lock()

    def __call__(self, exit_code: int = 0) -> None:
        """Ends the process with this code, unless it is ending already."""
        with self._lock:
            if not self.future.done():
                self.future.set_result(exit_code)


class RunnableNode(Protocol):
    """What `run` needs of a node besides being one."""

    def start(self) -> None:
        """Called once before the executor spins. Raises KeytrackError if the node cannot do its work."""
        ...

    def close(self) -> None:
        """Called once after the executor has stopped, with the ROS context still valid; ends the node's threads."""
        ...


def run(name: str, make_node: Callable[[Ending], RunnableNode], args: Sequence[str] | None = None) -> NoReturn:
    """Makes a node, spins it until its end, and ends the process.

    SIGINT and SIGTERM end the node in order: code 0. Where that takes longer, one after more than a second ends it at
    once: code 130. A KeytrackError is logged in one line: code 1.

    Called in the main thread, once in a process.

    Args:
        name: of the node in messages before it exists.
        make_node: is given the `Ending` by which the node may end the process itself.
        args: command line; by default that of the process.
    """
    exit_code = _run(name, make_node, args)
    # All that must be closed is closed. The interpreter's own end would take another 0.2 s of processor time, for
    # objects that go with the process; on a busy robot that is seconds.
    with suppress(AttributeError, OSError, ValueError):  # where there is no stdout or stderr, or nobody reads it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)


def _run(name: str, make_node: Callable[[Ending], RunnableNode], args: Sequence[str] | None) -> int:
    ending = Ending()
    _end_on_signals(ending)
    _ensure_home()
    _share_one_heap()
    arguments = list(sys.argv if args is None else args)
    try:
        unknown = remove_ros_args(arguments)[1:]
        # Our own handlers: rclpy's would take away the context before the node has ended.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rcl's own types are private; their text names the argument or the file
        text = _one_line(error)
        if "logging" in text:
            text += "; set ROS_LOG_DIR to a folder that can be written"
        print(f"{name} cannot start: {text}", file=sys.stderr)
        return 2
    try:
        if unknown:
            get_logger(name).warning(f"unknown arguments: {' '.join(unknown)}")
        return _spin(name, make_node, ending, arguments)
    finally:
        rclpy.shutdown()
        for number in _SIGNALS:  # at its exit, the interpreter leaves only ignored signals as they are
            signal.signal(number, signal.SIG_IGN)


def _spin(name: str, make_node: Callable[[Ending], RunnableNode], ending: Ending, arguments: Sequence[str]) -> int:
    try:
        node = make_node(ending)
    except (KeytrackError, ParameterException) as error:
        get_logger(name).fatal(_one_line(error))
        return 1
    assert isinstance(node, Node)
    handler = _ToRosLog(node.get_logger())
    library = logging.getLogger("keytrack_ros")
    library.setLevel(logging.INFO)
    library.addHandler(handler)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        try:
            node.start()
        finally:  # a file without effect may be why it cannot start
            for line in without_effect(arguments, [each.get_fully_qualified_name() for each in executor.get_nodes()]):
                node.get_logger().warning(line)
        executor.spin_until_future_complete(ending.future)
        return int(ending.future.result())
    except (KeytrackError, ParameterException) as error:
        node.get_logger().fatal(_one_line(error))
        return 1
    finally:
        node.close()
        executor.shutdown()
        library.removeHandler(handler)
        node.destroy_node()


def _end_on_signals(ending: Ending) -> None:
    """From now on SIGINT and SIGTERM only start the shutdown; a later second one ends the process at once."""
    # The interpreter runs handlers only once the main thread leaves rclpy's wait; the wake-up socket is written to at
    # once, and whichever thread received the signal.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(sender.detach())

    def wait() -> None:
        receiver.recv(1)
        ending(0)
        # A terminal and a launcher send one each at the same time.
        time.sleep(_PATIENCE_S)
        receiver.settimeout(0)
        with suppress(BlockingIOError):
            receiver.recv(4096)
        receiver.settimeout(None)
        receiver.recv(1)
        os._exit(130)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _share_one_heap() -> None:
    """Makes all threads allocate from one heap, where the C library is glibc.

    Each activation of a node starts new threads, its own and those of its networks. glibc gives them other heaps, up to
    8 for each core, and what a busy scene leaves in each is not returned: in `bench/soak.py` a tracker grew by 10 MB a
    minute.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, 128 * 1024)


def _ensure_home() -> None:
    """Sets HOME if it is missing, as under systemd: ROS's log folder and our caches lie below it."""
    if not os.environ.get("HOME"):
        home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
        os.environ["HOME"] = home if home.startswith("/") else tempfile.gettempdir()


class _ToRosLog(logging.Handler):
    """Passes what the library logs on to the node's logger; a warning again only after `_REPEAT_S`."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        self._logged_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            now = time.monotonic()
            self._logged_s = {known: when for known, when in self._logged_s.items() if now - when < _REPEAT_S}
            if self._logged_s.setdefault(text, now) != now:
                return
        # One call site for each severity, as rclpy demands.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

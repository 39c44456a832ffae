"""How every node's process begins and ends: errors as one line, signals as an orderly end."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

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


class Ending:
    """The end of a node's process, which a signal, the node itself or any of its threads may bring about."""

    def __init__(self) -> None:
        self.future = Future()
        self._lock = threading.Lock()

    def __call__(self, exit_code: int = 0) -> None:
        """Ends the process with this code, unless its end has begun already."""
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


def run(name: str, make_node: Callable[[Ending], RunnableNode], args: Sequence[str] | None = None) -> int:
    """Makes a node, spins it until its end, and returns the exit code of the process.

    SIGINT and SIGTERM end the node in order: code 0. A KeytrackError is said in one line: code 1.

    Called in the main thread, once in a process.

    Args:
        name: of the node in messages before it exists.
        make_node: is given the `Ending` by which the node may end the process itself.
        args: command line; by default that of the process.
    """
    ending = Ending()
    _end_on_signals(ending)
    arguments = list(sys.argv if args is None else args)
    try:
        unknown = remove_ros_args(arguments)[1:]
        # Our own handlers: rclpy's would take away the context before the node has ended.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rcl's own types are private; their text names the argument or the file
        print(f"{name} cannot begin: {_one_line(error)}", file=sys.stderr)
        return 2
    try:
        if unknown:
            get_logger(name).warning(f"arguments without a meaning: {' '.join(unknown)}")
        return _spin(name, make_node, ending)
    finally:
        rclpy.shutdown()


def _spin(name: str, make_node: Callable[[Ending], RunnableNode], ending: Ending) -> int:
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
        node.start()
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
    """From now on SIGINT and SIGTERM do nothing but bring about the end."""
    # The interpreter runs handlers only once the main thread leaves rclpy's wait; the wake-up socket is written to at
    # once, and from whichever thread the signal has met.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(sender.detach())

    def wait() -> None:
        while receiver.recv(1):  # a second signal, as from a terminal and from a launcher, finds the socket still open
            ending(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


class _ToRosLog(logging.Handler):
    """Passes what the library logs on to the node's logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # One call site for each severity, as rclpy demands.
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

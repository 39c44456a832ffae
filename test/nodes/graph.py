"""A ROS graph for a test: nodes in processes of their own, and a node of the test that talks to them over DDS."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter as ParameterValue
from rclpy.parameter import parameter_value_to_python
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from keytrack_ros.nodes.images import to_image_message
from keytrack_ros.nodes.messages import ns_to_stamp, stamp_to_ns
from keytrack_ros.nodes.subscribing import LossCounter

REPOSITORY = Path(__file__).parent.parent.parent
TIMEOUT_S = 60.0
_FAST_DDS = re.compile(r"^.*RTPS_\w+\S* (Error|Warning)\].*\n?", re.MULTILINE)

# Only this machine, so that nothing of a test is heard elsewhere, or the other way round.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

M = TypeVar("M")


class Process:
    """A node's process; its output is in `log`, without what Fast DDS writes of shared memory that others left."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log_file: Path) -> None:
        self._log_file = log_file
        with log_file.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return _FAST_DDS.sub("", self._log_file.read_text(errors="replace"))

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def status(self) -> str:
        """What the kernel says of it: /proc/<pid>/status."""
        return Path(f"/proc/{self._process.pid}/status").read_text()

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """The exit code, once there is one."""
        return self._process.wait(timeout_s)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Sends a signal and returns the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Ends the process and its children, as those of a launch."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Graph:
    """Everything in one ROS domain that no other graph on this machine has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._domain, self._reservation = _reserve_domain()
        self._processes: list[Process] = []
        self._context = Context()
        rclpy.init(args=[], context=self._context, domain_id=self._domain)
        self.node = rclpy.create_node("test", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.diagnostics: dict[str, str] = {}
        self.diagnostics_level = b""
        self.diagnostics_stamp_ns = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()  # while its peers live: Fast DDS crashed here now and then just after they were killed
        self._context.shutdown()
        for process in self._processes:
            process.kill()
        self._reservation.close()

    def start(self, name: str, parameters: dict[str, object] | None = None, *, ros_args: Sequence[str] = ()) -> Process:
        """Starts the node `name` from the source tree; `ros_args` as after --ros-args, for example `-r a:=b`.

        Trackers publish every track at once, unless `parameters` say otherwise.
        """
        if name in ("tracker", "cameras"):
            parameters = {"tracker.confirm_frames": 1} | (parameters or {})
        code = f"import sys; from keytrack_ros.nodes.{name}_node import main; sys.exit(main())"
        return self.start_code(code, parameters, ros_args=ros_args, name=name)

    def start_code(
        self,
        code: str,
        parameters: dict[str, object] | None = None,
        *,
        ros_args: Sequence[str] = (),
        name: str = "node",
    ) -> Process:
        """Runs Python code that starts a node; `name` is that of its log."""
        command = [sys.executable, "-c", code, "--ros-args", *ros_args]
        for key, value in (parameters or {}).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{key}:={text}"]
        return self._run(command, name)

    def launch(self, file: str, **arguments: str) -> Process:
        """Starts a launch file of the source tree, with the installed executables."""
        given = [f"{name}:={value}" for name, value in arguments.items()]
        return self._run(["ros2", "launch", str(REPOSITORY / "launch" / f"{file}.launch.py"), *given], file)

    def _run(self, command: Sequence[str], name: str) -> Process:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))),
            "ROS_DOMAIN_ID": str(self._domain),
            "ROS_LOG_DIR": str(self.folder / "log"),
        }
        process = Process(command, environment, self.folder / f"{name}_{len(self._processes)}.txt")
        self._processes.append(process)
        return process

    def spin_until(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Lets the test's node work until the condition holds; fails with all logs if it never does."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(process.log for process in self._processes)
                raise AssertionError(f"still not so after {timeout_s:g} s; diagnostics {self.diagnostics}\n{logs}")
            self._executor.spin_once(0.05)

    def spin_for(self, seconds: float) -> None:
        """Lets time pass where a test shows that nothing happens."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(0.05)

    def listen(self, message_type: type[M], topic: str, qos: QoSProfile | int = 100) -> list[M]:
        """Subscribes; the list grows with every message."""
        messages: list[M] = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def publisher(self, message_type: type[Any], topic: str, qos: QoSProfile | int = 10, readers: int = 1) -> Publisher:
        """A publisher that has found its subscribers."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        self.spin_until(lambda: publisher.get_subscription_count() >= readers)
        return publisher

    def meet(self, node: str = "/tracker") -> None:
        """Returns once a node knows every subscription that the test has made so far.

        What it publishes before that does not arrive, although the test may know its publisher already. Subscriptions
        are announced in their order, and the last one is that of the answer to a request.
        """
        self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request())

    def names_publishers(self) -> bool:
        """Whether messages tell who sent them, which those of ROS 2 Humble and Jazzy do not."""
        if not LossCounter.SUPPORTED:
            return False
        infos: list[dict[str, Any]] = []
        self.node.create_subscription(Header, "/who", lambda _message, info: infos.append(info), 10)
        publisher = self.publisher(Header, "/who")
        self.spin_until(lambda: publisher.publish(Header()) or infos)
        return "publisher_gid" in infos[0]

    def call(self, service_type: type[Any], name: str, request: Any) -> Any:
        """Calls a service; again if no answer comes, for one that is sent before its server has met us is lost."""
        for _ in range(8):
            response = self._ask(service_type, name, request, TIMEOUT_S / 8)
            if response is not None:
                return response
        raise AssertionError(f"{name} does not answer")

    def _ask(self, service_type: type[Any], name: str, request: Any, patience_s: float) -> Any | None:
        """The answer to one request; None if there is none for so long."""
        client = self.node.create_client(service_type, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(request)
        patience_ends = time.monotonic() + patience_s
        self.spin_until(lambda: future.done() or time.monotonic() > patience_ends)
        self.node.destroy_client(client)
        return future.result() if future.done() else None

    def change_state(self, transition: str, node: str = "/tracker") -> bool:
        """Asks for a lifecycle transition by its label; True if it succeeded."""
        request = ChangeState.Request()
        request.transition.label = transition
        before = self.state(node)
        response = self._ask(ChangeState, f"{node}/change_state", request, TIMEOUT_S / 4)
        if response is not None:
            return bool(response.success)
        return self.state(node) != before  # only the answer was lost: a transition is not asked for twice

    def state(self, node: str = "/tracker") -> str:
        return str(self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: object, node: str = "/tracker") -> SetParametersResult:
        parameter = ParameterValue(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[Parameter(name=name, value=parameter.value)])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def get_parameter(self, name: str, node: str = "/tracker") -> Any:
        response = self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name]))
        return parameter_value_to_python(response.values[0])

    def count(self, key: str) -> int:
        """A number of the last diagnostics."""
        return int(self.diagnostics.get(key, -1))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics_stamp_ns = stamp_to_ns(message.header.stamp)
        for status in message.status:
            self.diagnostics = {item.key: item.value for item in status.values}
            self.diagnostics["message"] = status.message
            self.diagnostics["name"] = status.name
            self.diagnostics_level = status.level


def image_message(image: npt.NDArray[np.uint8], stamp_s: float, frame_id: str = "camera") -> Any:
    """A BGR image with a header."""
    return to_image_message(image, Header(stamp=ns_to_stamp(round(stamp_s * 1e9)), frame_id=frame_id))


def _reserve_domain() -> tuple[int, Any]:
    """A domain id from 1 to 100 that nobody uses, and the locked file that keeps it ours until it is closed."""
    first = os.getpid() % 100
    for offset in range(100):
        domain = 1 + (first + offset) % 100
        file = (Path(tempfile.gettempdir()) / f"keytrack_ros_test_domain_{domain}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            if _is_quiet(domain):
                return domain, file
            file.close()
    raise AssertionError("ROS nodes run in 100 domains of this machine already")


def _is_quiet(domain: int) -> bool:
    """Whether no ROS program of this machine is in the domain: the first ones in it would have these UDP ports."""
    for participant in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as candidate:
            try:
                candidate.bind(("", 7410 + 250 * domain + 2 * participant))
            except OSError:
                return False
    return True

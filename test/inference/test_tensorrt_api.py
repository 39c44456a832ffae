"""Every name of TensorRT that the package uses, compared with NVIDIA's modules and with the stand-in runtime."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from test.conftest import REPOSITORY
from test.inference import stand_in_tensorrt

NAMES = Path(__file__).parent / "tensorrt_names.txt"
RUNTIME_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvinfer_lean")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def used(builder: bool = True) -> list[str]:
    """The lines of the list; without a builder only those of the runtime."""
    lines = [line for line in NAMES.read_text().splitlines() if not line.startswith("#")]
    return [line.removeprefix("* ") for line in lines if builder or not line.startswith("* ")]


def differences(module: ModuleType, lines: list[str]) -> list[str]:
    """The lines that do not describe the module."""
    return [line for line in lines if not _describes(line, module)]


def _describes(line: str, module: ModuleType) -> bool:
    path, kind, arguments = re.fullmatch(r"([\w.]+)([({]?)(.*?)[)}]?", line).groups()  # type: ignore[union-attr]
    wanted = [part for part in arguments.split(", ") if part]
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
    if value is None:
        return False
    if kind == "{":
        return set(wanted) <= set(value.__members__)
    if kind == "":
        return isinstance(value, property)
    return any(given[: len(wanted)] == wanted for given in _parameters(value))


def _parameters(function: Any) -> list[list[str]]:
    """Parameter names of each overload."""
    try:
        return [[name for name in inspect.signature(function).parameters if name != "self"]]
    except ValueError:  # pybind11: the signatures are in the docstring
        found = re.findall(rf"\b{function.__name__}\((.*)\) ->", function.__doc__ or "")
        return [[p for p in re.findall(r"(\w+): ", line) if p != "self"] for line in found if "*args" not in line]


def test_the_package_uses_no_other_name():
    # Attributes of the module are written `trt.Name` everywhere.
    listed = {re.split(r"\W", line)[0] for line in used()} | {"ComputeCapability"}  # of TensorRT for RTX alone
    for file in (REPOSITORY / "keytrack_ros/inference/tensorrt").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("trt", "self._trt", "self.trt"):
                assert node.attr in listed | {"__version__"}, f"{file}: trt.{node.attr}"


def test_tensorrt_for_rtx_has_every_name():
    assert differences(stand_in_tensorrt.real, [line for line in used() if not line.startswith("ParserError")]) == []


def test_the_stand_in_runtime_has_the_same_parameters():
    mine = [line for line in used(builder=False) if not line.startswith("ILogger")]
    assert differences(stand_in_tensorrt, mine) == []


@pytest.mark.parametrize("module", ["tensorrt_bindings", "tensorrt_lean_bindings"])
def test_tensorrt_has_every_name(tmp_path, module):
    # The wheels on PyPI lack the libraries that they are linked against; to be looked at, empty ones are enough.
    package = {"tensorrt_bindings": "tensorrt-cu12-bindings", "tensorrt_lean_bindings": "tensorrt-lean-cu12-bindings"}
    try:
        installed = version(package[module])
    except ImportError:
        pytest.skip(f"{package[module]} is not installed; requirements/dev.txt names it")
    compiler = shutil.which("cc") or shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = tmp_path / "symbols.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in RUNTIME_LIBRARIES:
        file = f"lib{library}.so.{installed.split('.')[0]}"
        flags = ["-x", "c", "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", str(tmp_path / file), str(source)]
        subprocess.run([compiler, *flags], check=True)
    code = (
        f"import json, {module} as t; from test.inference.test_tensorrt_api import differences, used;"
        f"print(json.dumps([t.__version__, differences(t, used(builder={'lean' not in module}))]))"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [installed, []]

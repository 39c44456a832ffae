"""What the real `tensorrt` modules offer under the names that the package uses.

The bindings are real wheels on PyPI; the libraries that they are linked against are not there. To be imported and
looked at they need no more than libraries that define ten symbols, which a C compiler makes in a moment. Nothing is
called.

    python -m test.inference.tensorrt_api WHEEL... > test/inference/tensorrt_api.json
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

from test.inference import stand_in_tensorrt

LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvinfer_lean")
_SYMBOLS = (
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

Api = dict[str, Any]
"""By dotted name: functions and methods as lists of parameter lists (one for each overload), properties as "property",
enums as the list of their members' names."""


def used_names() -> Api:
    """The stand-in's interface, in the form that `api_of` gives."""
    return {name: _described(value) for name, value in _members(stand_in_tensorrt)}


def api_of(module: ModuleType) -> Api:
    """The same names in a real module; those that it lacks are missing."""
    found = {}
    for name, _ in _members(stand_in_tensorrt):
        value: Any = module
        try:
            for part in name.split("."):
                value = getattr(value, part)
        except AttributeError:
            continue
        found[name] = _described(value)
    return found


def _members(module: ModuleType) -> list[tuple[str, Any]]:
    members: list[tuple[str, Any]] = [("nptype", module.nptype)]
    classes = [(n, v) for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__]
    while classes:
        prefix, kind = classes.pop(0)
        if hasattr(kind, "__members__"):
            members.append((prefix, kind))
            continue
        for name, value in vars(kind).items():
            if inspect.isclass(value):
                classes.append((f"{prefix}.{name}", value))
            elif (name == "__init__" and prefix in _CONSTRUCTED) or not name.startswith("_"):
                members.append((f"{prefix}.{name}", value))
    return [(name, value) for name, value in members if name not in _OWN]


_CONSTRUCTED = ("ILogger", "IProgressMonitor", "Builder", "OnnxParser", "Runtime")
_OWN = {  # of the stand-in alone
    "IOptimizationProfile.shapes",
    "ICudaEngine.profile",
}


def _described(value: Any) -> Any:
    if hasattr(value, "__members__"):
        return sorted(value.__members__)
    if isinstance(value, property):
        return "property"
    try:
        return [[name for name in inspect.signature(value).parameters if name != "self"]]
    except ValueError:  # pybind11: the signatures stand in the docstring
        lines = re.findall(rf"\b{value.__name__}\((.*)\) ->", value.__doc__ or "")
        return [[p for p in re.findall(r"(\w+): ", line) if p != "self"] for line in lines if "*args" not in line]


def loaded_api(folder: Path, name: str, libraries: Path) -> tuple[str, Api]:
    """Version and interface of the bindings `name` in `folder`, imported in a process of its own."""
    code = (
        f"import json, {name} as t; from test.inference.tensorrt_api import api_of;"
        "print(json.dumps([t.__version__, api_of(t)]))"
    )
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])]),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{name} cannot be imported: {done.stderr}")
    version, api = json.loads(done.stdout)
    return version, api


def make_libraries(folder: Path, major: int) -> bool:
    """Libraries that let the bindings be imported; False if there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("c++")
    if compiler is None:
        return False
    source = folder / "symbols.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in _SYMBOLS))
    for library in LIBRARIES:
        file = f"lib{library}.so.{major}"
        command = [
            compiler,
            "-x",
            "c",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{file}",
            "-o",
            str(folder / file),
            str(source),
        ]
        subprocess.run(command, check=True)
    return True


def _main(wheels: list[str]) -> None:
    apis = {}
    for wheel in wheels:
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(wheel).extractall(folder)
            major = int(Path(wheel).name.split("-")[1].split(".")[0])
            assert make_libraries(Path(folder), major), "a C compiler is needed"
            version, apis_here = loaded_api(Path(folder), "tensorrt_bindings", Path(folder))
            apis[version] = apis_here
    print(json.dumps(apis, indent=1, sort_keys=True))


if __name__ == "__main__":
    _main(sys.argv[1:])

"""The package runs in the tests on a stand-in for `tensorrt`, so it uses no name that the stand-in lacks; here the
stand-in is held against the real modules."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

from test.inference.tensorrt_api import Api, loaded_api, make_libraries, used_names

RECORDED: dict[str, Api] = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
BUILDING = (
    "Builder.",
    "EngineInspector.",
    "IBuilderConfig.",
    "IOptimizationProfile.",
    "IProgressMonitor.",
    "ITimingCache.",
    "NetworkDefinitionCreationFlag",
    "OnnxParser.",
    "ParserError.",
    "ProfilingVerbosity",
)
"""Beginnings of the names that only the full module has; the lean one runs engines alone."""


def differences(real: Api, lean: bool = False) -> list[str]:
    """What of the stand-in the real module lacks, or has otherwise."""
    wrong = []
    for name, mine in used_names().items():
        if lean and name.startswith(BUILDING):
            continue
        theirs = real.get(name)
        if theirs is None:
            wrong.append(f"{name} is missing")
        elif mine == "property" or theirs == "property":
            wrong += [f"{name} is {theirs}"] if mine != theirs else []
        elif isinstance(mine[0], str):
            wrong += [f"{name}.{member} is missing" for member in set(mine) - set(theirs)]
        elif not any(overload[: len(mine[0])] == mine[0] for overload in theirs):
            wrong.append(f"{name}{mine[0]} is {theirs}")
    return wrong


@pytest.mark.parametrize("version", sorted(RECORDED))
def test_every_name_that_is_used_is_in_the_bindings_as_recorded(version):
    # Recorded from the wheels of tensorrt-cu12-bindings: the oldest version that is supported, a later one, one of 11.
    assert differences(RECORDED[version]) == []


def test_a_name_that_is_wrong_would_be_found():
    real = json.loads(json.dumps(RECORDED["11.4.0.106"]))
    del real["Builder.create_network"]
    real["IExecutionContext.set_tensor_address"] = [["name", "pointer"]]
    real["TensorIOMode"] = ["INPUT", "NONE"]
    assert len(differences(real)) == 3


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("tensorrt-cu12-bindings", "tensorrt_bindings"),
        ("tensorrt-lean-cu12-bindings", "tensorrt_lean_bindings"),
    ],
)
def test_every_name_that_is_used_is_in_the_installed_bindings(tmp_path, package, module):
    try:
        version = distribution(package).version
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed; requirements/dev.txt names it")
    if not make_libraries(tmp_path, int(version.split(".")[0])):
        pytest.skip("there is no C compiler")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    found, api = loaded_api(Path(spec.origin).parents[1], module, tmp_path)
    assert found == version
    assert differences(api, lean="lean" in module) == []

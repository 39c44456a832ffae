"""Rules of docs/architecture.md: what a folder may import, no circles, rclpy and torch in few places; Python 3.10."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from test.conftest import REPOSITORY

PACKAGE = REPOSITORY / "keytrack_ros"

VOCABULARY = {"errors", "events", "options", "poses", "skeleton", "timing"}
NETWORKS = VOCABULARY | {"inference"}

# What each folder (or module beside the folders) may import, apart from itself.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "options": {"errors"},
    "skeleton": {"errors"},
    "poses": {"errors", "skeleton"},
    "events": {"poses"},
    "timing": set(),
    "geometry": VOCABULARY,
    "inference": VOCABULARY,
    "detection": NETWORKS | {"geometry"},
    "estimation": NETWORKS | {"geometry"},
    "toks": VOCABULARY | {"geometry"},
    "matching": NETWORKS | {"geometry"},
    "tracker": NETWORKS | {"geometry", "matching"},
    "explanation": VOCABULARY | {"geometry", "matching", "tracker"},
    "lifting": VOCABULARY,
    "smoothing": VOCABULARY,
    "client": VOCABULARY | {"msg"},
    "gpu": NETWORKS | {"detection", "estimation", "geometry", "pipeline", "toks"},
    "pipeline": NETWORKS | {"detection", "estimation", "geometry", "gpu", "matching", "toks", "tracker"},
    "media": VOCABULARY | {"explanation", "geometry", "matching"},
    "annotations": VOCABULARY | {"geometry", "media"},
    "evaluation": VOCABULARY | {"annotations", "geometry", "media"},
    "training": NETWORKS | {"annotations", "detection", "estimation", "evaluation", "geometry", "matching", "media"},
    "research": NETWORKS | {"annotations", "evaluation", "geometry", "matching", "media", "tracker", "training"},
}
MAY_IMPORT["nodes"] = {*MAY_IMPORT} - {"annotations", "evaluation", "research", "training"} | {"msg"}
MAY_IMPORT["cli"] = {*MAY_IMPORT} - {"nodes", "client"}

MAY_USE_TORCH = (
    "training/",
    "gpu/",
    "research/",
    "matching/",
    "estimation/",
    "detection/",
    "inference/torch_session.py",
)

MAY_USE_ROS = ("nodes", "client")
"""The nodes, and what other people's nodes use of ours; everything else runs without ROS."""

ROS = {
    "ament_index_python",
    "cv_bridge",
    "lifecycle_msgs",
    "message_filters",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "tf2_ros",
}


def imported_modules(file: Path) -> set[str]:
    """Full names of all that a file imports, at any depth of its code; `from a import b` gives `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def module_of(file: Path) -> str:
    """`keytrack_ros.media.frames` of `keytrack_ros/media/frames.py`."""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def owned(name: str) -> str | None:
    """The module of ours that an imported name is or lies in; None for other packages' names."""
    while name:
        if name in FILES:
            return name
        name = name.rpartition(".")[0]
    return None


def folder_of(module: str) -> str:
    """The part of the house a module belongs to: `media` of `keytrack_ros.media.frames`."""
    return module.split(".")[1] if "." in module else ""


def test_every_part_of_the_house_has_its_rule():
    assert {folder_of(module) for module in FILES} - {"", "models"} == {*MAY_IMPORT} - {"msg"}


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_point_one_way(part):
    for module, file in FILES.items():
        if folder_of(module) != part:
            continue
        for name in imported_modules(file):
            if name.startswith("keytrack_ros.msg"):
                assert part in MAY_USE_ROS, f"{file} imports {name}; only {MAY_USE_ROS} know the generated messages"
            target = owned(name)
            if target and folder_of(target) not in ("", part):
                assert folder_of(target) in MAY_IMPORT[part], f"{part} may not import {target} ({file})"


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module: {owned(name) for name in imported_modules(file)} - {None, module} for module, file in FILES.items()
    }
    # A package's __init__ gathers names of its own modules; importing one of them does not depend on the gathering.
    packages = {module for module, file in FILES.items() if file.name == "__init__.py"}
    graph = {module: targets for module, targets in graph.items() if module not in packages}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_nodes_and_the_client_import_ros():
    for module, file in FILES.items():
        used = {name.split(".")[0] for name in imported_modules(file)} & ROS
        assert not used or folder_of(module) in MAY_USE_ROS, f"{file} imports {used}"


def test_torch_is_imported_where_networks_are_trained_exported_or_run_in_it():
    for file in FILES.values():
        place = file.relative_to(PACKAGE).as_posix()
        if any(name.split(".")[0] == "torch" for name in imported_modules(file)):
            assert place.startswith(MAY_USE_TORCH), f"{file} imports torch"


def test_nothing_newer_than_python_3_10_is_imported():
    """Humble has Python 3.10, and this suite may run on a newer one."""
    newer = {
        "typing": {"LiteralString", "Never", "NotRequired", "Required", "Self", "Unpack", "assert_never", "override"},
        "enum": {"ReprEnum", "StrEnum"},
        "datetime": {"UTC"},
        "itertools": {"batched"},
        "contextlib": {"chdir"},
    }
    found = []
    for file in (*PACKAGE.rglob("*.py"), *(REPOSITORY / "bench").glob("*.py"), *(REPOSITORY / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 10))):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names} & newer.get(node.module or "", set())
                found += [f"{file.relative_to(REPOSITORY)}: {node.module}.{name}" for name in sorted(names)]
            elif isinstance(node, ast.Import) and "tomllib" in {alias.name for alias in node.names}:
                found.append(f"{file.relative_to(REPOSITORY)}: tomllib")
    assert found == []

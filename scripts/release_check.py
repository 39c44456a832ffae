"""Whether this tree could be released: `make release-check`. Prints each check, and what to do about those that fail.

One version everywhere, a changelog and a package.xml that bloom accepts, every ROS package that the code imports named
in package.xml, and a wheel from `python -m build` that holds messages, networks, configuration and executables.
Whether rosdep knows the keys of package.xml needs its database from the internet: `rosdep check --from-paths .`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from catkin_pkg.changelog import get_changelog_from_path
from catkin_pkg.package import parse_package

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = {
    "cv_bridge",
    "ffmpeg_image_transport_msgs",
    "foxglove_msgs",
    "hri_msgs",
    "tf2_geometry_msgs",
    "tf2_ros",
    "vision_msgs",
}
"""ROS packages that are used where they are installed, and done without elsewhere."""
WHEEL_HOLDS = (
    r"keytrack_ros/msg/_tracked_pose_array\.py",
    r"keytrack_ros/.*typesupport_fastrtps_c.*\.so",
    r"keytrack_ros/models/person_detector\.onnx",
    r"keytrack_ros/models/hrnet_w24\.onnx",
    r"keytrack_ros/models/pose_entailment\.onnx",
    r".*share/keytrack_ros/config/tracker\.yaml",
    r".*share/keytrack_ros/launch/tracker\.launch\.py",
    r".*share/ament_index/resource_index/packages/keytrack_ros",
    r".*lib/keytrack_ros/tracker_node",
    r".*dist-info/entry_points\.txt",
)


def one_version() -> Iterator[str]:
    """package.xml, the Python package and CITATION.cff must agree, and CHANGELOG.rst must know the version."""
    version = parse_package(str(ROOT / "package.xml")).version
    found = re.search(r'__version__ = "(.*?)"', (ROOT / "keytrack_ros" / "__init__.py").read_text())
    others = {
        "keytrack_ros/__init__.py": found.group(1) if found else None,
        "CITATION.cff": yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"],
    }
    for file, other in others.items():
        if other != version:
            yield f"{file} has version {other}, package.xml {version}: make them equal"


def changelog() -> Iterator[str]:
    """In catkin's form, with this version in it, or with a section that catkin_prepare_release gives its name."""
    file = ROOT / "CHANGELOG.rst"
    log = get_changelog_from_path(str(file), "keytrack_ros")
    versions = [version for version, _, _ in log.foreach_version()]
    forthcoming = re.search(r"^Forthcoming\n-+\n\* ", file.read_text(), re.MULTILINE)
    if not forthcoming and parse_package(str(ROOT / "package.xml")).version not in versions:
        yield "CHANGELOG.rst has neither this version nor a section 'Forthcoming' with entries"


def manifest() -> Iterator[str]:
    """package.xml is valid and names every ROS package that is imported."""
    package = parse_package(str(ROOT / "package.xml"))
    package.validate()
    named = {d.name for kind in (package.build_depends, package.exec_depends) for d in kind}
    for file in sorted((ROOT / "keytrack_ros").rglob("*.py")) + sorted((ROOT / "launch").glob("*.py")):
        for name in ros_imports(file) - named - OPTIONAL:
            yield f"{file.relative_to(ROOT)} imports {name}: package.xml needs <exec_depend>{name}</exec_depend>"


def ros_imports(file: Path) -> set[str]:
    """Names of the ROS packages that a Python file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    ros = re.compile(r"rclpy|launch(_ros)?|ament_index_python|cv_bridge|tf2_\w+|\w+_(msgs|srvs|interfaces)")
    return {name for name in names if ros.fullmatch(name)}


def wheel() -> Iterator[str]:
    """`python -m build --wheel` in this environment, which holds ROS 2."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}"
            return
        names = zipfile.ZipFile(next(Path(folder).glob("*.whl"))).namelist()
    for pattern in WHEEL_HOLDS:
        if not any(re.fullmatch(pattern, name) for name in names):
            yield f"the wheel holds nothing like {pattern}"


def main() -> int:
    """Runs the checks; 1 if any has something to say."""
    checks: tuple[Callable[[], Iterator[str]], ...] = (one_version, changelog, manifest, wheel)
    failed = False
    for check in checks:
        problems = list(check())
        failed = failed or bool(problems)
        print(f"{'FAILED' if problems else 'ok':8}{check.__name__.replace('_', ' ')}")
        for problem in problems:
            print(f"        {problem}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

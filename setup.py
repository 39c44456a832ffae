"""`pip install .` for an environment that holds ROS 2 (its wheels, or a sourced installation).

The messages need CMake, so this runs the same CMakeLists.txt as `make` and colcon, installs into a staging folder and
packs the result: Python files into the package, everything else (libraries, share/, executables) relative to the
environment's prefix.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

from distutils.command.install_data import install_data  # isort: skip (setuptools provides it, also on Python 3.12+)

ROOT = Path(__file__).parent.resolve()
STAGE = ROOT / "build" / "pip-stage"


def requirements(file: str) -> list[str]:
    """Lines of a requirements file without comments and references."""
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if re.match(r"[A-Za-z]", line)]


class BuildWithCMake(build_py):
    """Builds and stages everything with CMake, then takes the staged Python package."""

    def run(self) -> None:
        # pip's isolated build environment hides the ROS packages; the environment that we install into holds them.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONNOUSERSITE")}
        if "AMENT_PREFIX_PATH" in environment and "PYTHONPATH" in os.environ:
            entries = [p for p in os.environ["PYTHONPATH"].split(os.pathsep) if "pip-build-env" not in p]
            environment["PYTHONPATH"] = os.pathsep.join(entries)
        build = ROOT / "build" / "pip"
        configure = [
            "cmake",
            f"-S{ROOT}",
            f"-B{build}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_INSTALL_PREFIX={STAGE}",
            f"-DCMAKE_PREFIX_PATH={sys.prefix}",
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DBUILD_TESTING=OFF",
        ]
        try:
            subprocess.run(configure, check=True, env=environment)
            subprocess.run(["cmake", "--build", str(build), "--parallel", "2"], check=True, env=environment)
            subprocess.run(["cmake", "--install", str(build)], check=True, env=environment)
        except FileNotFoundError:
            raise SystemExit("CMake 3.21 or newer is needed: sudo apt-get install cmake") from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                f"{' '.join(error.cmd[:3])} failed; its output is above. ROS 2 must be in this environment: "
                "pip install -r requirements/ros.txt, or source a ROS installation"
            ) from None
        package = next(STAGE.glob("**/*-packages/keytrack_ros"))
        self.copy_tree(str(package), str(Path(self.build_lib) / "keytrack_ros"))


class InstallStaged(install_data):
    """Installs libraries, share/ and executables from the staging folder."""

    def run(self) -> None:
        for file in sorted(STAGE.rglob("*")):
            place = file.relative_to(STAGE)
            # bin/keytrack is the console script that pip writes; *-packages is the Python package.
            if file.is_dir() or place.parts[0] == "bin" or any(part.endswith("-packages") for part in place.parts):
                continue
            target = Path(self.install_dir) / place
            self.mkpath(str(target.parent))
            self.outfiles.append(self.copy_file(str(file), str(target))[0])


class BinaryDistribution(Distribution):
    """The wheel holds compiled messages: it is for one Python and one platform."""

    def has_ext_modules(self) -> bool:
        return True


version = re.search(r"<version>(.*?)</version>", (ROOT / "package.xml").read_text())
assert version is not None, "package.xml names no version"

setup(
    name="keytrack_ros",
    version=version.group(1),
    description="Online multi-person pose tracking: 15 keypoints and a persistent track id for every person (KeyTrack)",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["keytrack_ros"],
    data_files=[("share/keytrack_ros", ["package.xml"])],
    # A sourced ROS distribution has packages that are compiled for NumPy 1 (cv_bridge): it must stay.
    install_requires=requirements("on-ros.txt" if "ROS_DISTRO" in os.environ else "run.txt"),
    extras_require={
        "gpu": requirements("gpu.txt"),
        "rtx": requirements("rtx.txt"),
        "train": [r for r in requirements("dev.txt") if r.startswith(("torch", "onnx", "matplotlib"))],
        "cluster": [r for r in requirements("dev.txt") if r.startswith("distributed")],
        "eval": [r for r in requirements("dev.txt") if r.startswith("matplotlib")],
    },
    entry_points={"console_scripts": ["keytrack = keytrack_ros.cli:main"]},
    cmdclass={"build_py": BuildWithCMake, "install_data": InstallStaged},
    distclass=BinaryDistribution,
)

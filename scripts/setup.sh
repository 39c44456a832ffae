#!/usr/bin/env bash
# Makes .venv: ROS 2 wheels, Python packages and this package, built from source. `setup.sh dev` adds what training and the
# tests need. What is already there is left as it is, so that a second run takes a second or two. ROS=jazzy makes .venv-jazzy
# with the wheels of that release, which need Python 3.12.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stage=${1:-run}
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() { printf 'keytrack_ros cannot be set up: %s\n' "$1" >&2; exit 1; }

case ${ROS:-kilted} in
  kilted) suffix='' wheels=requirements/ros.txt versions='3.10 to 3.13' least=10 most=13 ;;
  jazzy) suffix=-jazzy wheels=requirements/ros-jazzy.txt versions=3.12 least=12 most=12 ;;
  *) fail "ROS=$ROS is not known; there are kilted (the default) and jazzy" ;;
esac
venv=$PWD/.venv$suffix

supported() {  # does this command start a Python that we support?
  command -v "$1" >/dev/null 2>&1 &&
    "$1" -c "import sys; sys.exit(not (3, $least) <= sys.version_info[:2] <= (3, $most))" 2>/dev/null
}

if [ ! -x "$venv/bin/python" ]; then
  python=
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.12 python3.11 python3.13 python3.10; do
    if supported "$candidate"; then python=$candidate; break; fi
  done
  [ -n "$python" ] || fail "Python $versions is needed: sudo apt-get install python3 python3-venv python3-dev
(another one can be named: make PYTHON=/path/to/python3.12)"
fi
command -v cmake >/dev/null || fail 'CMake 3.21 or newer is needed: sudo apt-get install cmake'
cmake_version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
[ "$(printf '3.21\n%s\n' "$cmake_version" | sort -V | head -n1)" = 3.21 ] ||
  fail "CMake 3.21 or newer is needed, this is $cmake_version: pip install --user cmake"
command -v c++ >/dev/null || command -v g++ >/dev/null || fail 'a C++ compiler is needed: sudo apt-get install g++'
command -v make >/dev/null || fail 'make is needed: sudo apt-get install make'

if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import ensurepip' 2>/dev/null || fail "Python's venv module is needed: sudo apt-get install python3-venv"
  header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
  [ -f "$header" ] || fail "Python's headers are needed ($header): sudo apt-get install python3-dev"
  echo "making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi

mkdir -p build
install() {  # install NAME FILE...: pip-installs the files' packages once, and again when a file changes
  local stamp=$venv/.keytrack-$1 files=("${@:2}") arguments=()
  if [ -f "$stamp" ] && cat "${files[@]}" | cmp -s - "$stamp"; then return; fi
  for file in "${files[@]}"; do arguments+=(-r "$file"); done
  echo "installing the packages of ${files[*]}"
  local log=build/pip-$1$suffix.log
  if ! "$venv/bin/python" -m pip install "${arguments[@]}" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "pip could not install ${files[*]}; all of its output is in $log"
  fi
  cat "${files[@]}" >"$stamp"
}
install run "$wheels" requirements/run.txt
if [ "$stage" = dev ]; then install dev "$wheels" requirements/run.txt requirements/dev.txt; fi

# Build and install the package itself, if anything of it is newer than the last installation.
installed=$venv/.keytrack-package
if [ -f "$installed" ] && [ -z "$(find CMakeLists.txt package.xml cmake msg launch config keytrack_ros \
    -newer "$installed" -not -name '*.pyc' -not -name __pycache__ -print -quit)" ]; then exit 0; fi
echo "building keytrack_ros"
log=build/venv$suffix.log
if ! { cmake -S . -B build/venv$suffix -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$venv" -DCMAKE_PREFIX_PATH="$venv" \
         -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF &&
       cmake --build build/venv$suffix --parallel 2 &&
       cmake --install build/venv$suffix; } >"$log" 2>&1; then
  tail -n 25 "$log" >&2
  fail "the build failed; all of its output is in $log"
fi
# Files that are no longer part of the package go; the others stay all the time, so that running nodes are not disturbed.
find "$venv"/lib/python3.*/site-packages/keytrack_ros "$venv/share/keytrack_ros" -type f -not -name '*.pyc' |
  grep -vxFf build/venv$suffix/install_manifest.txt | while read -r file; do rm -- "$file"; done || true
touch "$installed"

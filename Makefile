# make        sets up .venv: ROS 2, Python packages and keytrack_ros, built from source
# make demo   tracks the people of a real video through a real ROS 2 graph; results in demo_output/
# make test   runs the whole test suite, in two processes
# make lint   ruff and mypy
# make gpu-check   all that needs an NVIDIA GPU: tests, engines, times; written to docs/results-gpu.md
# make release-check   versions, changelog, package.xml and the wheel, before a release
# make docs   the documentation site in build/site/; `make reference` first, after options or messages changed

# ROS=jazzy: with the wheels of ROS 2 Jazzy, in .venv-jazzy; needs Python 3.12 (PYTHON=/path/to/python3.12 names it)
ROS ?= kilted
export ROS
VENV := .venv$(if $(filter-out kilted,$(ROS)),-$(ROS))/bin

.PHONY: all setup dev demo test lint gpu-check release-check docs reference clean
all: setup

setup:
	@bash scripts/setup.sh run

dev:
	@bash scripts/setup.sh dev

demo: setup
	@$(VENV)/python scripts/demo.py $(if $(VIDEO),--video "$(VIDEO)") $(if $(FRAMES),--frames $(FRAMES))

test: dev
	@OMP_NUM_THREADS=1 $(VENV)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: dev
	@$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy

gpu-check: dev
	@$(VENV)/python scripts/gpu_check.py

release-check: dev
	@$(VENV)/python scripts/release_check.py

docs: dev
	@NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --strict --quiet && echo build/site/index.html

reference: dev
	@$(VENV)/python scripts/write_reference.py

clean:
	rm -rf .venv .venv-* build install log demo_output

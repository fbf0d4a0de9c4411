# Every command sets itself up in .venv: the first run downloads, later ones need no network.
#
#   make demo        train the MovieLens example, eager and fused
#   make modes       train it point-wise, pair-wise, list-wise and over the whole catalogue
#   make simclr      train SimCLR on MNIST digits, eager and fused
#   make metric      metric learning on MNIST digits, one loss after the other
#   make test        C++ and Python tests
#   make test-deep   the tests that take minutes
#   make test-cuda   proofs of the CUDA kernels as nvcc compiles them, without a GPU: tens of minutes
#   make cuda-build  build with CUDA kernels and import, in .venv-cuda (needs nvcc, no GPU)
#   make bench       benchmarks; options by ARGS, as in: make bench ARGS=--quick
#   make lint        ruff, clang-format, mypy
#   make docs        the documentation site in build/docs
#   make lock        resolve the pinned versions anew
#   make clean       remove everything that was built or installed here
#
# Another Python:  make PYTHON=python3.12 test
# Another torch:   make TORCH_SPEC='torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu' test

PYTHON ?= python3
# The torch to install, a requirement with options of pip; empty: the one in _build/torch.txt.
TORCH_SPEC ?=
ARGS ?=

export PYTHON TORCH_SPEC
# Of another Python, they would leak into .venv.
unexport PYTHONPATH PYTHONHOME
# matplotlib's cache must not need a writable home.
export MPLCONFIGDIR ?= $(CURDIR)/.venv/cache/matplotlib

python := .venv/bin/python
environment = sh _build/preflight.sh && $(PYTHON) _build/environment.py

.PHONY: demo modes simclr metric test cpp-test py-test test-deep measured-test emulated-test test-cuda cuda-build bench lint docs lock clean

demo:
	@$(environment) demo
	$(python) examples/movielens_two_tower.py $(ARGS)

modes:
	@$(environment) demo
	$(python) examples/recommender_modes.py $(ARGS)

simclr:
	@$(environment) demo
	$(python) examples/simclr_mnist.py $(ARGS)

metric:
	@$(environment) demo
	$(python) examples/metric_learning_mnist.py $(ARGS)

test: cpp-test py-test

cpp-test:
	@$(environment) test bench
	@.venv/bin/cmake -S . -B build/cpp -G Ninja -DCMAKE_MAKE_PROGRAM="$(CURDIR)/.venv/bin/ninja" --log-level=WARNING
	.venv/bin/cmake --build build/cpp
	.venv/bin/ctest --test-dir build/cpp --output-on-failure --no-tests=error

# Most tests are small and leave a second core idle: two processes share them.
py-test:
	@$(environment) test bench
	$(python) -m pytest -q -n 2 --dist worksteal $(ARGS)

test-deep: measured-test emulated-test

emulated := tests/test_cuda_emulated.py tests/test_emulator.py

# One after the other: some measure time or memory, or take both cores.
measured-test:
	@$(environment) test bench docs demo
	$(python) -m pytest -q -m deep $(emulated:%=--ignore=%) $(ARGS)

# CUDA kernels on the CPU.
emulated-test:
	@$(environment) test bench
	$(python) -m pytest -q -n 2 --dist worksteal -m deep $(emulated) $(ARGS)

test-cuda:
	@$(environment) test bench cuda
	$(python) -m pytest -q -m cuda_deep $(ARGS)

# Beside .venv: its torch is another one.
cuda-build:
	@sh _build/preflight.sh
	$(PYTHON) _build/cuda_build.py

bench:
	@$(environment) bench
	.venv/bin/fastloss-bench $(ARGS)

lint:
	@$(environment) lint test
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	find csrc tests/emulator -name '*.h' -o -name '*.inl' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs .venv/bin/clang-format --dry-run -Werror
	$(python) -m mypy

docs:
	@$(environment) docs
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict

lock:
	@$(environment)
	sh _build/lock.sh

clean:
	rm -rf .venv .venv-cuda build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f fastloss/_C.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

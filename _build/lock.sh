#!/bin/sh
# Resolve all extras anew for every supported Python and write constraints.txt (`make lock`).
# torch and its CUDA libraries stay out: torch is chosen by TORCH_SPEC and pins those itself. The
# tools of the extra "cuda" are none of them.

set -eu
cd "$(dirname "$0")/.."
new=.venv/constraints.txt
.venv/bin/python -m pip install --quiet uv
# setuptools and ninja are what the build needs. The project's own metadata (torch==X.Y.*) is made
# without isolation, by what .venv has.
printf 'setuptools\nninja\n' |
  .venv/bin/python -m uv pip compile --quiet --universal --python .venv/bin/python \
    --python-version 3.10 --no-build-isolation --all-extras --no-header --no-annotate \
    --constraint _build/torch.txt --output-file "$new" pyproject.toml -
{
  echo "# Exact versions that make installs, written by make lock (Python 3.10 and later, Linux)."
  awk "!/^(torch==|triton|nvidia-|cuda-)|sys_platform == '(win32|darwin|emscripten)'/ ||
    /^nvidia-cuda-(cuobjdump|nvdisasm)==/" "$new"
} >_build/constraints.txt

"""Build, install and import fastloss with its CUDA kernels, in .venv-cuda: `make cuda-build`.

No GPU is needed, but nvcc of the CUDA version of torch (_build/torch_cuda.txt; $TORCH_SPEC names
another): the first run downloads it, gigabytes. TORCH_CUDA_ARCH_LIST chooses the GPUs compiled for.
The install is a plain `pip install .`, so that the extension of .venv, which lies in the source
tree, stays as it is. Ends with the facts of the build, one a line.
"""

import fcntl
import os
import shutil
import subprocess
import sys

import cuda_toolkit

import environment

VENV = environment.ROOT / ".venv-cuda"
# From elsewhere than the source tree, whose fastloss/ would hide the installed one.
REPORT = """
import torch, fastloss
facts = fastloss.build_info()
for name, value in facts.items():
    print(f"{name}: {value}")
operators = [name for name in torch._C._dispatch_get_all_op_names() if "fastloss::" in name]
on_cuda = [op for op in operators if torch._C._dispatch_has_kernel_for_dispatch_key(op, "CUDA")]
print(f"operators with CUDA kernels: {len(on_cuda)} of {len(operators)}")
assert facts["cuda"] is True and on_cuda
"""


def main():
    environment.VENV = VENV
    environment.PYTHON = VENV / "bin" / "python"
    environment.STAMPS = VENV / "stamps"
    os.environ["FASTLOSS_CUDA"] = "1"
    if cuda_toolkit.find(os.environ) is None:  # before gigabytes are downloaded
        sys.exit("fastloss: make cuda-build needs nvcc: install the CUDA toolkit, or set CUDA_HOME")
    with open(environment.ROOT / "_build" / "environment.py", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = environment.digest(str(VENV), sys.version, sys.base_prefix)
        if not environment.up_to_date("venv", state) or not environment.PYTHON.exists():
            shutil.rmtree(VENV, ignore_errors=True)
            environment.run(sys.executable, "-m", "venv", str(VENV))
            environment.set_stamp("venv", state)
        environment.install_torch(state, "torch_cuda.txt")
        # Compiled files are kept in build/temp*: only what changed is compiled again.
        environment.pip_install(
            *("--no-build-isolation", "--no-deps", "--no-index", "--force-reinstall", "."),
        )
    report = subprocess.run([environment.PYTHON, "-c", REPORT], cwd=VENV, check=False)
    sys.exit(report.returncode)


if __name__ == "__main__":
    main()

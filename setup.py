"""Build the C++ extension ``fastloss._C``; everything declarative is in pyproject.toml."""

import os
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    torch = None  # enough to make a source distribution


def extension():
    """Describe the extension: every source in csrc but the tests, which are programs (CMake)."""
    tests = Path("csrc/tests")
    sources = sorted(str(p) for p in Path("csrc").rglob("*.cpp") if tests not in p.parents)
    return CppExtension(
        "fastloss._C",
        sources,
        include_dirs=[str(Path("csrc").resolve())],  # ninja runs in the build folder
        define_macros=[("FASTLOSS_TORCH_VERSION", f'"{torch.__version__.split("+")[0]}"')],
        extra_compile_args=Path("compile_flags.txt").read_text(encoding="utf-8").split(),
        # Without -fopenmp at the link, at::parallel_for is silently serial. No rpath: importing
        # torch first maps its libraries, and its copy of libgomp stays the only one.
        extra_link_args=["-fopenmp"],
    )


if torch:
    # The C++ interface of torch changes with its minor version.
    torch_pin = "torch=={}.{}.*".format(*torch.__version__.split(".")[:2])
    os.environ.setdefault("MAX_JOBS", str(min(os.cpu_count() or 1, 8)))

    class Build(BuildExtension):
        """BuildExtension that knows the project's version and never keeps a stale library."""

        def finalize_options(self):
            super().finalize_options()
            # Without ninja only time stamps are compared: another torch would go unnoticed.
            self.force = True
            if self.editable_mode:
                # Elsewhere than setuptools' temporary folder, ninja compiles only what changed.
                self.build_temp = "build/editable"
            version = f'"{self.distribution.get_version()}"'
            for module in self.extensions:
                module.define_macros.append(("FASTLOSS_VERSION", version))

else:
    torch_pin = "torch"

    class Build(build_ext):
        """Stands where torch's BuildExtension would: nothing can be compiled without torch."""

        def run(self):
            raise ModuleNotFoundError(
                "building fastloss needs torch: install it first, or let `pip install .` fetch it"
            )


setup(
    install_requires=[torch_pin, "numpy"],
    ext_modules=[extension()] if torch else [],
    cmdclass={"build_ext": Build},
)

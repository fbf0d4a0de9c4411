"""Build the C++ extension ``fastloss._C``; everything declarative is in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent / "_build"))
import cuda_toolkit

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    torch = None  # enough to make a source distribution


def sources(with_cuda):
    """Every source in csrc but the tests, which are programs (CMake)."""
    apart = [Path("csrc/tests")] + ([] if with_cuda else [Path("csrc/cuda")])
    files = [*Path("csrc").rglob("*.cpp"), *Path("csrc").rglob("*.cu")]
    return sorted(str(p) for p in files if not any(folder in p.parents for folder in apart))


def flags(file):
    return Path(file).read_text(encoding="utf-8").split()


def cuda():
    """Return the toolkit that compiles the CUDA kernels, or None, and the macros that tell so."""
    toolkit, reason = cuda_toolkit.decide(os.environ, torch.__version__, torch.version.cuda)
    if not toolkit:
        print(f"fastloss: no CUDA kernels in this build: {reason}", file=sys.stderr)
        return None, []
    # torch reads both: the first when its cpp_extension is imported.
    os.environ["CUDA_HOME"] = toolkit.home
    chosen = cuda_toolkit.architectures(os.environ, toolkit)
    os.environ["TORCH_CUDA_ARCH_LIST"] = chosen
    print(f"fastloss: CUDA kernels by nvcc {toolkit.version} for {chosen}", file=sys.stderr)
    return toolkit, [
        ("FASTLOSS_CUDA", "1"),
        ("FASTLOSS_CUDA_TOOLKIT", f'"{toolkit.version}"'),
        ("FASTLOSS_CUDA_ARCHITECTURES", '"{}"'.format(",".join(chosen.replace(";", " ").split()))),
    ]


def extension(toolkit, macros):
    kind = cpp_extension.CUDAExtension if toolkit else cpp_extension.CppExtension
    return kind(
        "fastloss._C",
        sources(with_cuda=toolkit is not None),
        include_dirs=[str(Path("csrc").resolve())],  # ninja runs in the build folder
        define_macros=[
            ("FASTLOSS_TORCH_VERSION", f'"{torch.__version__.split("+")[0]}"'),
            *macros,
        ],
        extra_compile_args={"cxx": flags("compile_flags.txt"), "nvcc": flags("cuda_flags.txt")},
        # Without -fopenmp at the link, at::parallel_for is silently serial. No rpath: importing
        # torch first maps its libraries, and its copy of libgomp stays the only one.
        extra_link_args=["-fopenmp"],
    )


if torch:
    try:
        cuda_choice = cuda()
    except cuda_toolkit.CannotBuild as error:
        sys.exit(f"fastloss: {error}")
    from torch.utils import cpp_extension

    # The C++ interface of torch changes with its minor version.
    torch_pin = "torch=={}.{}.*".format(*torch.__version__.split(".")[:2])
    os.environ.setdefault("MAX_JOBS", str(min(os.cpu_count() or 1, 8)))

    class Build(cpp_extension.BuildExtension):
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
    ext_modules=[extension(*cuda_choice)] if torch else [],
    cmdclass={"build_ext": Build},
)

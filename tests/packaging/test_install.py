"""Source distribution, wheel and installation, as a user meets them.

The wheel is built from the unpacked source distribution, in a folder whose name has a space and an
accent. It is installed where nothing but torch, numpy and what those require can be imported: a new
virtual environment that borrows them by links from the running one. So no test needs a network,
except the one of a plain `pip install .` in an empty environment, which is skipped without.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not in the source tree"),
]


def run(*command, cwd, check=True):
    """Run a command as a new user would: neither a PYTHONPATH nor an active environment."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check and done.returncode:
        pytest.fail(f"{command} in {cwd} gave {done.returncode}:\n{done.stdout}", pytrace=False)
    return done


def run_json(python, code, cwd):
    """Run code in a fresh interpreter and read the JSON on the last line that it prints."""
    return json.loads(run(python, "-c", code, cwd=cwd).stdout.splitlines()[-1])


def distributions(*names):
    """Return the named distributions and, recursively, those they require here."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required only on another platform or Python
        for requirement in found[name].requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[\w.-]+", requirement).group())
    return found.values()


def empty_venv(folder, borrow=()):
    """Make a virtual environment that sees only the named distributions of the running one."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    links = folder / "borrowed"
    links.mkdir()
    for distribution in distributions(*borrow):
        for top in {file.parts[0] for file in distribution.files} - {".."}:
            if not (links / top).exists():
                (links / top).symlink_to(distribution.locate_file(top))
    site = run_json(
        python, "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))", ROOT
    )
    if borrow:
        (Path(site) / "borrowed.pth").write_text(f"{links}\n", encoding="utf-8")
    return python


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("un été à Paris")


@pytest.fixture(scope="module")
def sdist(workplace):
    """The source distribution, made from a copy so that the tree stays as it is."""
    copy = workplace / "copy"
    made_here = shutil.ignore_patterns(
        *(".git", ".venv*", "build", "dist", "*.egg-info", "*.so", "__pycache__", ".*_cache")
    )
    shutil.copytree(ROOT, copy, ignore=made_here)
    code = "import sys; sys.path.insert(0, '_build'); import backend; backend.build_sdist('dist')"
    run(sys.executable, "-c", code, cwd=copy)
    (archive,) = (copy / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def source(sdist, workplace):
    """The unpacked source distribution; what is compiled of it need not be fast."""
    with tarfile.open(sdist) as archive:
        archive.extractall(workplace / "unpacked")
    (folder,) = (workplace / "unpacked").iterdir()
    flags = folder / "compile_flags.txt"
    quick = flags.read_text(encoding="utf-8").replace("-O3", "-O0\n-DFASTLOSS_SIMD_CLONES=0")
    flags.write_text(quick, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wheel(source, workplace):
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    pip = (sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", workplace / "wheel")
    run(*pip, source, cwd=workplace)
    (archive,) = (workplace / "wheel").glob("*.whl")
    return archive


@pytest.fixture(scope="module")
def installed(wheel, workplace):
    """A Python that has fastloss from the wheel, torch, numpy, and nothing else."""
    python = empty_venv(workplace / "installed", borrow=["torch", "numpy"])
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, cwd=workplace)
    return python


def test_sdist_has_every_source_file(sdist):
    with tarfile.open(sdist) as archive:
        packed = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    for folder in ("_build", "csrc", "fastloss", "tests", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*"):
            made = path.suffix in {".so", ".pyc"} or "__pycache__" in path.parts
            if path.is_file() and not made and "results" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in packed
    assert {
        "Makefile",
        "CMakeLists.txt",
        "LICENSE",
        "compile_flags.txt",
        "cuda_flags.txt",
    } <= packed
    assert not [name for name in packed if name.endswith((".so", ".pyc"))]


def test_wheel_has_the_package_and_its_benchmarks_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"fastloss", "fastloss_benchmarks"}
    assert not [name for name in names if "results" in name or "/tests/" in name]
    assert {"fastloss/__init__.py", "fastloss/py.typed", "fastloss/_C.pyi"} <= set(names)
    assert sum(bool(re.fullmatch(r"fastloss/_C\..*\.so", name)) for name in names) == 1


def test_wheel_requires_the_torch_it_was_built_against(wheel):
    torch = importlib.metadata.version("torch")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    required = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    major, minor = torch.split(".")[:2]
    assert sorted(required) == ["numpy", f"torch=={major}.{minor}.*"]


def test_installed_package_works(installed, workplace):
    code = """
import json, torch, fastloss
query = torch.randn(8, 4, requires_grad=True)
fastloss.info_nce(query, torch.randn(8, 4)).backward()
print(json.dumps([fastloss.__version__, fastloss.__file__, bool(query.grad.isfinite().all())]))
"""
    version, file, finite = run_json(installed, code, workplace)
    assert version == importlib.metadata.version("fastloss")
    assert Path(file).is_relative_to(workplace / "installed")
    assert finite


def test_import_needs_only_torch_and_numpy(installed, workplace):
    code = """
import json, sys, torch
before = set(sys.modules)
import fastloss
after = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(after - set(sys.stdlib_module_names))))
"""
    assert set(run_json(installed, code, workplace)) <= {"fastloss", "numpy", "torch"}


def test_one_copy_of_libgomp_is_mapped(installed, workplace):
    """Two copies would be two thread pools, and set_num_threads would steer only one of them."""
    code = """
import json, torch, fastloss
fastloss.info_nce(torch.randn(512, 64), torch.randn(512, 64))
with open("/proc/self/maps", encoding="utf-8") as maps:
    print(json.dumps(sorted({line.split(None, 5)[5].strip() for line in maps if "gomp" in line})))
"""
    mapped = run_json(installed, code, workplace)
    assert len(mapped) == 1, mapped


def test_source_tree_without_extension_names_the_fix(installed, source):
    """Python started in the source tree finds the package without its extension there."""
    failed = run(installed, "-c", "import fastloss", cwd=source, check=False)
    assert failed.returncode == 1
    assert "ImportError" in failed.stdout
    assert "pip install" in failed.stdout


def test_widest_clone_uses_512_bit_registers():
    """Of the extension in use, which was compiled as users compile it."""
    if not shutil.which("objdump"):
        pytest.skip("objdump is not installed")
    library = importlib.util.find_spec("fastloss._C").origin
    text = run("objdump", "--disassemble", "--no-show-raw-insn", library, cwd=ROOT).stdout
    registers = {}  # clone (csrc/core/simd.h) -> the vector registers that its functions use
    clone = None
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:", line):
            version = re.search(r"\drun_(v[34])", head[1])
            clone = version[1] if version else "baseline"
        registers.setdefault(clone, set()).update(re.findall(r"%([xyz]mm)", line))
    assert "zmm" in registers["v4"]
    assert "ymm" in registers["v3"]
    assert "zmm" not in registers["v3"]
    # Code outside the clones runs on every x86-64.
    assert registers["baseline"] == {"xmm"}


def isolated_requirements(python, source, overlay):
    """Ask the backend what to install for a build, in an environment like pip's isolated one."""
    code = f"""
import json, sys
sys.path[:0] = [{str(overlay)!r}, {str(source / "_build")!r}]
import backend
hooks = [backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable]
print(json.dumps([hook() for hook in hooks]))
"""
    return run_json(python, code, source)


def test_build_fetches_torch_only_where_there_is_none(installed, source, workplace):
    overlay = workplace / "overlay"
    overlay.mkdir()
    setuptools = importlib.metadata.distribution("setuptools")
    (overlay / "setuptools").symlink_to(setuptools.locate_file("setuptools"))
    assert isolated_requirements(installed, source, overlay) == [[], []]
    empty = empty_venv(workplace / "empty")
    pin = (ROOT / "_build" / "torch.txt").read_text(encoding="utf-8").split()
    assert isolated_requirements(empty, source, overlay) == [pin, pin]


def test_plain_pip_install_in_an_empty_environment(source, workplace):
    """Needs a package index: first nothing is installed, then torch is and must be kept."""
    python = empty_venv(workplace / "plain")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--retries=0", "--timeout=20")
    reach = (*pip, "download", "--no-deps", "--dest", workplace / "reach", "setuptools", "ninja")
    if run(*reach, cwd=workplace, check=False).returncode:
        pytest.skip("no package index can be reached")
    run(*pip, "install", source, cwd=workplace)
    code = "import json, fastloss; print(json.dumps(fastloss.build_info()['torch']))"
    torch = run_json(python, code, workplace)

    run(*pip, "uninstall", "--yes", "fastloss", cwd=workplace)
    log = run(*pip, "install", "--verbose", "--dry-run", source, cwd=workplace).stdout
    assert not re.search(r"(Collecting|Downloading|Processing) \S*torch", log)
    assert "Would install fastloss" in log
    assert torch in run(*pip, "list", cwd=workplace).stdout

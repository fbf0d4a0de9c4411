"""The documentation says what is true: examples run, sections are there, tables are complete."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastloss
from cases import CASES

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SECTIONS = ("Args:", "Returns:", "Raises:", "Notes:", "Example:", "References:")


def modules():
    yield fastloss
    for info in pkgutil.walk_packages(fastloss.__path__, "fastloss."):
        if not info.name.rsplit(".")[-1].startswith("_"):
            yield importlib.import_module(info.name)


MODULES = list(modules())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_doctests(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in finder.find(module):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def public_symbols():
    for module in MODULES:
        yield module.__name__, module
        for name in getattr(module, "__all__", ()):
            symbol = getattr(module, name)
            if inspect.isfunction(symbol) or inspect.isclass(symbol):
                yield f"{module.__name__}.{name}", symbol
            if inspect.isclass(symbol) and "forward" in vars(symbol):
                yield f"{module.__name__}.{name}.forward", symbol.forward


SYMBOLS = list(public_symbols())


@pytest.mark.parametrize(("name", "symbol"), SYMBOLS, ids=[name for name, _ in SYMBOLS])
def test_everything_public_is_documented(name, symbol):
    text = inspect.getdoc(symbol) or ""
    assert text.strip(), f"{name} has no docstring"
    first = text.splitlines()[0]
    assert first.endswith((".", ":")), f"{name}: the first line is no sentence: {first!r}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_docstring_sections(case):
    text = inspect.getdoc(case.function)
    places = [text.find(section) for section in SECTIONS]
    assert -1 not in places, dict(zip(SECTIONS, places, strict=True))
    assert places == sorted(places), "sections are in another order"
    assert ">>>" in text, "no example"
    assert "materialis" in text or "never stored" in text, "what is not stored is not said"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_argument_is_documented(case):
    """By its own name, as "name:" or "name (…):", in the order of the signature."""
    text = inspect.getdoc(case.function).split("Args:")[1].split("Returns:")[0]
    places = []
    for name in inspect.signature(case.function).parameters:
        match = re.search(rf"^\s*{name}\b.*:", text, re.MULTILINE)
        assert match, f"{name} is not documented"
        places.append(match.start())
    assert places == sorted(places)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_readme_has_a_row(case):
    rows = [
        line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    assert any(f"`{case.name}`" in row or f"`fastloss.{case.name}`" in row for row in rows)


def test_readme_snippets_run():
    """All python blocks in order, in one namespace, as a reader would paste them."""
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)


def test_roofline_of_cuda():
    """The page's table is what the program prints."""
    roofline = pytest.importorskip("fastloss_benchmarks.roofline")
    assert roofline.table() in (ROOT / "docs" / "cuda.md").read_text(encoding="utf-8")
    # The arithmetic that the page shows: one product, one passage of the scores.
    gpu, n, d = roofline.GPUS[0], 65_536, 512
    assert roofline.flops(roofline.FORWARD, n, n, d) == 2 * n * n * d
    products, bound = roofline.seconds(roofline.FORWARD, gpu, n, n, d, 1 << 26)
    assert products == 2 * n * n * d / 312e12
    assert bound == products + 2 * (n + n) * d / 2.04e12
    one_pass = next(loss for loss in roofline.LOSSES if loss.name.startswith("siglip"))
    few, many = (roofline.bytes_moved(one_pass, n, n, d, size) for size in (1 << 26, 1 << 30))
    assert few > many > 14 * n * n

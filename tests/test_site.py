"""The site: its pages exist, name everything public, and their examples run."""

import doctest
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastloss
import fastloss.nn
import fastloss.reference

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CONFIGURATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def is_documented(symbol):
    return inspect.isfunction(symbol) or inspect.isclass(symbol)


PUBLIC = [
    (f"{module.__name__}.{name}", getattr(module, name))
    for module in (fastloss, fastloss.nn, fastloss.reference)
    for name in module.__all__
    if is_documented(getattr(module, name))
]


def api_targets():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    return re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)


@pytest.fixture
def convert(monkeypatch):
    """The conversion of docstrings, which itself needs no griffe."""
    if importlib.util.find_spec("griffe") is None:
        monkeypatch.setitem(sys.modules, "griffe", SimpleNamespace(Extension=object))
    spec = importlib.util.spec_from_file_location("docstrings", DOCS / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)
    return module.markdown


def test_navigation_is_complete():
    navigation = CONFIGURATION.split("\nnav:\n")[1].split("\n\n")[0]
    named = re.findall(r"[\w/]+\.md", navigation)
    assert len(named) == len(set(named))
    assert {DOCS / name for name in named} == set(PAGES)


def test_api_pages_name_everything_public():
    targets = api_targets()
    assert len(targets) == len(set(targets))
    missing = {name for name, _ in PUBLIC} - set(targets)
    assert not missing, "docs/api/*.md lack these"


@pytest.mark.parametrize("target", api_targets())
def test_api_pages_name_nothing_else(target):
    symbol = fastloss
    for name in target.split(".")[1:]:
        symbol = getattr(symbol, name)
    assert is_documented(symbol) or inspect.ismodule(symbol)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page):
    """All python blocks of a page in order, in one namespace, as a reader would type them."""
    lines, block = page.read_text(encoding="utf-8").splitlines(), False
    for i, line in enumerate(lines):
        if line.startswith("```"):
            block = line == "```python"
            assert not block or lines[i + 1].startswith(">>> "), f"line {i + 2} is not tested"
        if not block or line.startswith("```"):
            lines[i] = ""  # and the numbers of lines are those of the page
    test = doctest.DocTestParser().get_doctest("\n".join(lines), {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


def test_docstring_conversion(convert):
    text = inspect.cleandoc(
        r"""See :func:`a.b` and :class:`~a.nn.C` for :math:`x_1`.

        .. math::
            x = \frac12,

            y = x

        End of it.

        Args:
            x: in an entry

                .. math::
                    z

        Example:
            >>> 1
            1
        """
    )
    assert convert(text) == inspect.cleandoc(
        r"""See [`a.b`][a.b] and [`C`][a.nn.C] for \(x_1\).

        \[
        x = \frac12,

        y = x
        \]

        End of it.

        Args:
            x: in an entry

                \[
                z
                \]

        Examples:
            >>> 1
            1
        """
    )


@pytest.mark.parametrize(("name", "symbol"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_docstrings_convert_completely(name, symbol, convert):
    text = inspect.getdoc(symbol)
    converted = convert(text)
    assert not re.search(r"^ *\.\. |:\w+:`", converted, re.MULTILINE)
    for role in re.findall(r":(?!math)\w+:`~?([\w.]+)`", text):
        assert role == "fastloss" or role in {*dict(PUBLIC), *api_targets(), "fastloss.nn"}, role


@pytest.mark.deep
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed")
def test_strict_build(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    pages = "\n".join(page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html"))
    assert not re.search(r"\.\. math::|:\w+:`", pages)
    inventory = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    documented = zlib.decompress(inventory).decode().splitlines()
    for name, symbol in PUBLIC:
        kind = "class" if inspect.isclass(symbol) else "function"
        assert any(line.startswith(f"{name} py:{kind} ") for line in documented), name

"""Docstrings as the site's pages want them: an extension of griffe, which reads them for mkdocs.

They are written to be read as text, with the roles and math blocks of reStructuredText; the pages
are Markdown. And a function that its package imports stands before the submodule of the same name:
`fastloss.info_nce` is the function, as it is in Python.
"""

import re
import textwrap

import griffe

# An indented block, blank lines inside it included.
MATH = re.compile(r"^( *)\.\. math::\n((?:(?:\1 +\S.*)?\n)+)", re.MULTILINE)
ROLE = re.compile(r":(?:func|class|mod|meth|attr):`(~?)([\w.]+)`")
FORMULA = re.compile(r":math:`([^`]+)`")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


def markdown(text):
    r"""Turn the roles and math blocks of a docstring into Markdown.

    :func:`a.b` becomes a link to a.b, shown as b after a ~; formulas become \( … \), blocks of
    them \[ … \]; the examples become a section of their own, where >>> is no quotation.
    """

    def display(match):
        indent = match[1]
        formula = textwrap.indent(textwrap.dedent(match[2]).strip("\n"), indent)
        return f"{indent}\\[\n{formula}\n{indent}\\]\n\n"

    def link(match):
        path = match[2]
        name = path.rpartition(".")[2] if match[1] else path
        return f"[`{name}`][{path}]"

    text = MATH.sub(display, text + "\n")
    text = FORMULA.sub(r"\\(\1\\)", ROLE.sub(link, text))
    return EXAMPLE.sub(r"\1Examples:", text).rstrip()


class Docstrings(griffe.Extension):
    """What mkdocs.yml names."""

    def on_object(self, *, obj, **_):
        """Convert a docstring before it is parsed."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_package(self, *, pkg, **_):
        """Let imported functions stand before submodules of their name."""
        for importing in (pkg, pkg["reference"]):
            for name, member in list(importing.members.items()):
                if member.is_alias and member.target_path.endswith(f".{name}"):
                    path = f"{member.target_path}.{name}"
                    if holds(pkg, path):
                        importing.set_member(name, griffe.Alias(name, path))


def holds(pkg, path):
    """Tell whether a function or class of the package has this path."""
    try:
        return not pkg[path.removeprefix(f"{pkg.path}.")].is_alias
    except (KeyError, griffe.AliasResolutionError):
        return False

"""Formulas of the pages, ``$...$`` and ``$$...$$``, as MathML, when the site is built.

Readers fetch no script. Where latex2mathml is not installed (it is one of the
development tools) formulas stand as they are written.
"""

import html
import logging
import re

from mkdocs.exceptions import PluginError

try:
    from latex2mathml.converter import convert
except ImportError:
    convert = None

FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL
)
logger = logging.getLogger("mkdocs.hooks.mathml")


def mathml(match: re.Match[str]) -> str:
    """One formula; a command that is not known is an error."""
    tex = html.unescape(match[2])
    if convert is None:
        return f"<code>{html.escape(tex)}</code>"
    formula = convert(tex, display="block" if match[1] == "div" else "inline")
    if "\\" in formula:
        raise PluginError(f"not understood: {tex}")
    return formula


def on_page_content(content: str, **_: object) -> str:
    """Called by mkdocs with the HTML of a page."""
    return FORMULA.sub(mathml, content)


def on_config(config: object) -> None:
    """Called by mkdocs once."""
    if convert is None:
        logger.info("formulas stand as they are written: pip install latex2mathml")

"""A figure becomes part of a page: inline SVG without network, with its own ids, in the page's font and colours."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes

from gradnoise.plots import style

_HEX = {value: name for name, value in style.PALETTE.items()}


def svg(axes: Axes, prefix: str, title: str, description: str) -> Markup:
    """Return the figure of `axes` as an `<svg>` element.

    Text stays text in the font of the page; colours of `plots.style` become variables of the style sheet, so that
    figures follow light, dark and print; ids start with `prefix`.

    Parameters
    ----------
    axes
        Axes in a figure of their own.
    prefix
        Unique on the page; letters, digits, hyphens.
    title, description
        For readers who do not see the figure.
    """
    buffer = io.StringIO()
    options: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": prefix, "svg.id": None}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has fonts for every script
        axes.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})  # type: ignore[union-attr]
    return Markup(_inline(buffer.getvalue(), prefix, title, description))


def _inline(text: str, prefix: str, title: str, description: str) -> str:
    body = text[text.index("<svg") : text.rindex("</svg>")]
    box = re.search(r'viewBox="([^"]*)"', body)
    inside = body[body.index(">") + 1 :]
    inside = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<defs>\s*</defs>", "", inside)
    inside = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], prefix), inside)
    inside = re.sub(r">\s+<", "><", inside)
    inside = re.sub(r"<g([^>]*)>((?:<use [^>]*/>)+)</g>", _hoisted, inside)
    return (
        f'<svg class="plot" role="img" viewBox="{box[1] if box else ""}" aria-labelledby="{prefix}-title {prefix}-desc">'
        f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-desc">{escape(description)}</desc>{inside}</svg>'
    )


def _tag(tag: str, prefix: str) -> str:
    """Rewrite one tag; what stands between tags is the reader's text and stays."""
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)  # nothing refers to groups
    tag = tag.replace("xlink:href", "href").replace('id="', f'id="{prefix}-')
    tag = tag.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    tag = re.sub(r"\s+(?=[A-Za-z]\s)|(?<=[MLCQz])\s+(?=[-\d])", "", tag) if tag.startswith("<path") else tag
    tag = re.sub(r" font-family:[^;\"]*;", "", tag).replace("\n", "")
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda hit: f"var(--{_HEX[hit[0]]})" if hit[0] in _HEX else hit[0], tag)
    return re.sub(r"\d+\.\d{3,}", lambda hit: f"{float(hit[0]):.1f}".removesuffix(".0"), tag)


def _hoisted(group: re.Match[str]) -> str:
    """Say the style that all markers of a group share once, on the group."""
    looks = set(re.findall(r' style="[^"]*"', group[2]))
    if len(looks) != 1:
        return group[0]
    look = looks.pop()
    return f"<g{group[1]}{look}>{group[2].replace(look, '')}</g>"

"""The page of a report: results in (the dictionary that `report.json` holds), one self-contained HTML file out.

Nothing is computed here, so a page can be made again from a stored `report.json` alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from gradnoise import _checks, plots
from gradnoise._text import visible
from gradnoise.pages import formats
from gradnoise.pages.drawing import svg
from gradnoise.plots import style

ALWAYS = ("meta", "summary")
SECTIONS = ("problem", "noise", "stationary", "posterior", "scaling", "files")
OPEN_ROWS = 12  # longer tables start folded
# what a level looks like: style class, sign, word
LEVELS = {
    "good": ("good", "✓", "good"),
    "warn": ("warn", "!", "caution"),
    "bad": ("bad", "✕", "problem"),
    "info": ("info", "i", "note"),
    "trustworthy": ("good", "✓", "trustworthy"),
    "approximate": ("warn", "≈", "approximate"),
    "not trustworthy": ("bad", "✕", "not trustworthy"),
    "not run": ("info", "–", "not run"),
}


def render(results: Mapping[str, Any]) -> str:
    """Return the page of a report as one HTML text: styles and figures inside, no script, nothing from a network.

    Parameters
    ----------
    results
        What `report.json` holds: a mapping with the keys meta and summary, and problem, noise, stationary, posterior,
        scaling and files. Of these a section that was not computed is absent or None, and the page says so; a number
        that was not computed is None.

    Raises
    ------
    TypeError, ValueError
        If `results` is no mapping, meta or summary is missing, or a level is unknown.
    """
    if not isinstance(results, Mapping):
        msg = f"results must be a mapping with the keys {', '.join(ALWAYS)}, got {_checks.shown(results)}."
        raise TypeError(msg)
    for section in ALWAYS:
        if section not in results:
            msg = f"results must have the key {section!r}, got {_checks.shown(sorted(results))}."
            raise ValueError(msg)
    whole = _readable(dict.fromkeys(SECTIONS) | dict(results))
    return _environment().get_template("page.html.j2").render(**whole, figures=_figures(whole), many=OPEN_ROWS)


def _readable(value: Any) -> Any:
    """Return results whose texts (names of columns, files, parameters) show their hidden characters."""
    if isinstance(value, Mapping):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(inner) for inner in value]
    return visible(value) if isinstance(value, str) else value


@functools.cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    env = Environment(
        loader=loader, autoescape=True, undefined=ChainableUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        "number": formats.number,
        "placed": formats.placed,
        "divergence": formats.divergence,
        "setting": formats.setting,
        "count": formats.count,
        "seconds": formats.seconds,
        "breakable": formats.breakable,
    }
    env.globals |= {
        "measured": formats.measured,
        "missing": formats.missing,
        "as_number": formats.number,
        "as_count": formats.count,
        "level": level,
        "stroke": stroke,
    }
    return env


def level(name: str) -> dict[str, str]:
    """Return style class, sign and word of a level.

    >>> level("warn")
    {'style': 'warn', 'sign': '!', 'word': 'caution'}
    """
    _checks.one_of("level", name, LEVELS)
    return dict(zip(("style", "sign", "word"), LEVELS[name], strict=True))


def stroke(look: tuple[str, Any]) -> Markup:
    """Return a short piece of a line of this colour and these dashes, for keys in the text."""
    colour, dashes = look
    gaps = "" if isinstance(dashes, str) else " ".join(f"{2 * part:g}" for part in dashes[1])
    name = next(name for name, value in style.PALETTE.items() if value == colour)
    return Markup(
        '<svg class="stroke" viewBox="0 0 34 8" aria-hidden="true"><path d="M 1 4 L 33 4" '
        'style="fill: none; stroke: var(--{}); stroke-width: 3; stroke-dasharray: {}"/></svg>'
    ).format(name, gaps or "none")


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """Draw every figure there are numbers for; the page leaves out the others."""
    out: dict[str, Any] = {}
    noise, stationary, posterior = results["noise"], results["stationary"], results["posterior"]
    if noise:
        out |= _noise_figures(noise)
    if stationary and stationary["directions"]:
        out |= _stationary_figures(stationary)
    if stationary and (stationary.get("fraction_of_edge") or 0) > 0:
        fraction = stationary["fraction_of_edge"]
        out["stability"] = svg(
            plots.stability_gauge(fraction),
            "stability",
            "Distance to the stability edge",
            f"A bar from 0 to {formats.number(fraction)}; SGD diverges beyond 1.",
        )
    if posterior:
        out |= _posterior_figures(posterior)
    return out


def _noise_figures(noise: Mapping[str, Any]) -> dict[str, Markup]:
    spectrum = plots.noise_spectrum(noise["hessian_eigenvalues"], noise["noise_eigenvalues"])
    along = plots.noise_alignment(noise["hessian_eigenvalues"], noise["noise_in_hessian_basis"])
    return {
        "spectrum": svg(
            spectrum,
            "spectrum",
            "Spectrum of curvature and gradient noise",
            f"Eigenvalues of H and of C, largest first, on a logarithmic axis; {_span(noise['hessian_eigenvalues'])} for H, "
            f"{_span(noise['noise_eigenvalues'])} for C.",
        ),
        "alignment": svg(
            along,
            "alignment",
            "Gradient noise along the curvature",
            "For each eigenvector of H, the noise along it against its curvature, with the line of equal values.",
        ),
    }


def _stationary_figures(stationary: Mapping[str, Any]) -> dict[str, Markup]:
    directions = stationary["directions"]
    discrete = [row["discrete"] for row in directions]
    out = {
        "variances": svg(
            plots.stationary_variances(stationary),
            "variances",
            "Stationary variance along each eigendirection",
            f"Predicted and simulated variance in {len(directions)} directions; the exact prediction runs {_span(discrete)}.",
        )
    }
    if any(row[key] is not None for row in directions for key in ("simulated", "shuffled_simulated")):
        out["ratios"] = svg(
            plots.variance_ratios(stationary),
            "ratios",
            "Simulated over predicted variance",
            "One point a direction with two standard errors; at 1 the simulation is as predicted.",
        )
    return out


def _posterior_figures(posterior: Mapping[str, Any]) -> dict[str, Any]:
    methods = posterior["methods"]
    kinds = {method["name"]: method["kind"] for method in methods}
    out: dict[str, Any] = {"marginals": [], "looks": style.looks(kinds)}
    if any(not formats.missing(method[key]) for method in methods for key in ("kl_to_reference", "kl_from_reference")):
        out["divergences"] = svg(
            plots.divergences(methods),
            "divergences",
            "KL divergence of each method from the reference",
            "Both directions on a logarithmic axis, with what sampling error alone would give. The table below has the numbers.",
        )
    for i, marginal in enumerate(posterior["marginals"] or []):
        axes = plots.marginal_densities(marginal, kinds=kinds, key=False)
        name = str(marginal["parameter"])
        words = f"The reference as a filled shape, a line for each of {len(marginal['methods'])} methods."
        out["marginals"].append(svg(axes, f"marginal-{i}", f"Marginal density of {name}", words))
    return out


def _span(values: Any) -> str:
    """Return "from a to b" for a description."""
    present = [v for v in values if not formats.missing(v)]
    return f"from {formats.number(min(present))} to {formats.number(max(present))}" if present else "nowhere"

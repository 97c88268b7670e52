"""Figures show the numbers they are given, at every size, without pyplot and without words they must not say."""

from __future__ import annotations

import io
import subprocess
import sys
from copy import deepcopy

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from sample_results import cases, sample

from gradnoise import plots
from gradnoise.plots import style

CASES = cases()


def drawn(results):
    """Every figure there is for these results."""
    noise, stationary, posterior = results["noise"], results["stationary"], results["posterior"]
    return [
        plots.noise_spectrum(noise["hessian_eigenvalues"], noise["noise_eigenvalues"]),
        plots.noise_alignment(noise["hessian_eigenvalues"], noise["noise_in_hessian_basis"]),
        plots.stationary_variances(stationary),
        plots.variance_ratios(stationary),
        plots.predicted_against_simulated(stationary),
        plots.divergences(posterior["methods"]),
        plots.stability_gauge(stationary["fraction_of_edge"] or 0.25),
        *(plots.marginal_densities(marginal) for marginal in posterior["marginals"]),
    ]


def column(results, key):
    return np.array([np.nan if r[key] is None else r[key] for r in results["stationary"]["directions"]])


def by_label(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def bars_of(axes):
    """Label -> (x, y, half length) of error bars."""
    out = {}
    for bar in axes.containers:
        x, y = bar.lines[0].get_data()
        ends = np.array([segment[:, 1] for segment in bar.lines[2][0].get_segments() if len(segment)] or [[0, 0]])
        out[bar.get_label()] = x, y, (ends[:, 1] - ends[:, 0]) / 2
    return out


# slow: the other cases, which the tests of the page draw as SVG too
@pytest.mark.parametrize(
    "name", [name if name in ("wine", "one") else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_every_figure_can_be_saved_in_every_format(name):
    for axes in drawn(CASES[name]):
        for form in ("svg", "png") if name == "wine" else ("svg",):
            buffer = io.BytesIO()
            axes.figure.savefig(buffer, format=form)
            assert buffer.tell() > 1000


def test_the_spectrum_is_the_input_largest_first():
    axes = plots.noise_spectrum([0.2, 3.0, None, 1.0], [0.5, 0.4])
    hessian, noise = axes.get_lines()
    np.testing.assert_array_equal(hessian.get_ydata(), [3.0, 1.0, 0.2, np.nan])
    np.testing.assert_array_equal(noise.get_data(), [[1, 2], [0.5, 0.4]])
    assert axes.get_yscale() == "log"


def test_alignment_shows_noise_against_curvature():
    axes = plots.noise_alignment([0.2, 3.0], [0.1, 5.0])
    points = by_label(axes)["one eigendirection"]
    np.testing.assert_array_equal(points.get_data(), [[0.2, 3.0], [0.1, 5.0]])
    with pytest.raises(ValueError, match=r"noise_along must have the shape of curvature, \(2,\), got \(1,\)"):
        plots.noise_alignment([0.2, 3.0], [0.1])


@pytest.mark.parametrize("name", ["wine", "ill", "one"])
def test_variances_are_the_input(name):
    results = CASES[name]
    axes = plots.stationary_variances(results["stationary"])
    lines = by_label(axes)
    words = {
        "posterior": "posterior",
        "continuous": "continuous time",
        "discrete": "discrete, at the mode",
        "averaged": "discrete, averaged",
        "shuffled_predicted": "shuffled, at the mode",
        "shuffled_averaged": "shuffled, averaged",
    }
    for key, label in words.items():
        values = column(results, key)
        if np.isnan(values).all():
            assert label not in lines
        else:
            np.testing.assert_array_equal(lines[label].get_ydata(), values)
    bars = bars_of(axes)
    for key, error, label in (
        ("simulated", "simulated_standard_error", "simulated, independent"),
        ("shuffled_simulated", "shuffled_standard_error", "simulated, shuffled"),
    ):
        x, y, half = bars[label]
        np.testing.assert_array_equal(x, np.arange(1, len(y) + 1))
        np.testing.assert_array_equal(y, column(results, key))
        np.testing.assert_allclose(half, 2 * column(results, error), rtol=1e-9)


def test_ratios_divide_by_the_prediction_that_the_results_name():
    results = sample(8)
    _, y, half = bars_of(plots.variance_ratios(results["stationary"]))["independent minibatches"]
    np.testing.assert_allclose(y, column(results, "simulated") / column(results, "averaged"))
    np.testing.assert_allclose(half, 2 * column(results, "simulated_standard_error") / column(results, "averaged"))
    stationary = {"directions": results["stationary"]["directions"]}
    _, y, _ = bars_of(plots.variance_ratios(stationary))["independent minibatches"]
    np.testing.assert_allclose(y, column(results, "simulated") / column(results, "discrete"))


def test_a_direction_without_noise_has_no_ratio():
    results = sample(4)
    results["stationary"]["directions"][1]["averaged"] = 0.0
    _, y, _ = bars_of(plots.variance_ratios(results["stationary"]))["independent minibatches"]
    assert np.isnan(y).tolist() == [False, True, False, False]


def test_ratios_far_from_one_get_a_logarithmic_axis():
    assert plots.variance_ratios(CASES["wine"]["stationary"]).get_yscale() == "linear"
    assert plots.variance_ratios(CASES["ill"]["stationary"]).get_yscale() == "log"


def test_predicted_against_simulated_shows_both_samplings():
    results = CASES["wine"]
    bars = bars_of(plots.predicted_against_simulated(results["stationary"]))
    x, y, half = bars["independent minibatches"]
    np.testing.assert_array_equal(x, column(results, "averaged"))
    np.testing.assert_array_equal(y, column(results, "simulated"))
    np.testing.assert_allclose(half, 2 * column(results, "simulated_standard_error"), rtol=1e-9)
    np.testing.assert_array_equal(bars["shuffled epochs"][0], column(results, "shuffled_averaged"))


@pytest.mark.parametrize("function", [plots.stationary_variances, plots.variance_ratios])
def test_many_directions_are_a_line_in_a_band(function):
    axes = function(CASES["large"]["stationary"])
    assert not axes.containers
    assert len(axes.collections) == 2
    assert all(line.get_marker() in ("", "None") for line in axes.get_lines())


@pytest.mark.parametrize("fraction", [0.01, 0.25, 1.0, 7.0])
def test_the_gauge_has_one_bar_of_the_given_length(fraction):
    axes = plots.stability_gauge(fraction)
    (bar,) = axes.containers
    assert bar[0].get_width() == fraction
    assert axes.get_xlim()[1] > max(1, fraction)


@pytest.mark.parametrize("fraction", [0.0, -1.0, float("nan"), None])
def test_the_gauge_refuses_what_is_no_fraction(fraction):
    with pytest.raises((TypeError, ValueError), match="fraction_of_edge must be"):
        plots.stability_gauge(fraction)


def test_divergences_are_the_input_and_tiny_ones_stand_at_the_end():
    methods = CASES["wine"]["posterior"]["methods"]
    axes = plots.divergences(methods)
    forward, backward, floor = axes.get_lines()[:3]
    low = 0.0198 / 10
    for line, key in ((forward, "kl_to_reference"), (backward, "kl_from_reference")):
        np.testing.assert_allclose(line.get_xdata(), [max(m[key], low) for m in methods])
    np.testing.assert_array_equal(floor.get_xdata(), [m["kl_floor"] for m in methods])
    assert [text.get_text() for text in axes.texts] == [m["name"] for m in methods]


def test_marginals_are_the_input():
    marginal = CASES["wine"]["posterior"]["marginals"][0]
    lines = by_label(plots.marginal_densities(marginal))
    assert list(lines) == list(marginal["methods"])
    for name, density in marginal["methods"].items():
        np.testing.assert_array_equal(lines[name].get_data(), [density["x"], density["density"]])
    short = deepcopy(marginal)
    short["methods"]["Laplace"]["x"].pop()
    with pytest.raises(ValueError, match="x and density of 'Laplace' must be sequences of one length"):
        plots.marginal_densities(short)


def test_two_methods_of_a_kind_look_different():
    looks = style.looks({"a": "full", "b": "full", "c": "corrected", "d": "new"})
    assert len({repr(look) for look in looks.values()}) == 4
    assert looks["a"][0] == looks["b"][0]


def test_names_are_words_not_formulas():
    marginal = CASES["one"]["posterior"]["marginals"][0] | {"parameter": r"$\frac{1$ 特徴"}
    axes = plots.marginal_densities(marginal)
    assert axes.get_xlabel() == r"$\frac{1$ 特徴"
    with pytest.warns(UserWarning, match="missing from font"):  # and no error from the formula
        axes.figure.savefig(io.BytesIO(), format="svg")


def test_a_missing_key_is_named():
    stationary = deepcopy(CASES["wine"]["stationary"])
    del stationary["directions"][3]["discrete"]
    with pytest.raises(ValueError, match=r"directions\[3\] must have the key 'discrete'"):
        plots.stationary_variances(stationary)
    with pytest.raises(ValueError, match="stationary must have the key 'directions'"):
        plots.stationary_variances({})
    with pytest.raises(ValueError, match="noise_eigenvalues must hold at least one number"):
        plots.noise_spectrum([1.0], [])


@pytest.mark.parametrize("name", CASES)
def test_no_figure_says_a_verdict(name):
    for axes in drawn(CASES[name]):
        key = axes.get_legend()
        texts = [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, *(key.get_texts() if key else [])]
        assert not any("trust" in text.get_text().lower() for text in texts)


def test_colours_are_of_the_palette_each_for_one_role():
    assert len(set(style.PALETTE.values())) == len(style.PALETTE)
    for axes in drawn(CASES["ill"]):
        colours = {to_hex(line.get_color()) for line in axes.get_lines()}
        assert colours <= set(style.PALETTE.values())


def test_given_axes_are_drawn_on_and_given_back():
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert plots.stationary_variances(CASES["wine"]["stationary"], axes=axes) is axes
    assert axes.get_lines()


def test_pyplot_stays_out():
    code = (
        "import sys, gradnoise.plots as p; p.noise_spectrum([1.0, 2.0], [0.5, 0.1]).figure.savefig('/dev/null', format='svg')\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_settings_of_matplotlib_stay_as_they_were():
    before = dict(matplotlib.rcParams)
    drawn(CASES["wine"])
    assert dict(matplotlib.rcParams) == before

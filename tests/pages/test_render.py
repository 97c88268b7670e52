"""The page: one valid file without network, every number of the tables on it, hostile names escaped, verdicts only as verdicts."""

from __future__ import annotations

import json
import re
import sys
from copy import deepcopy
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "plots"))
from sample_results import cases, sample

from gradnoise.pages import formats
from gradnoise.pages import render as page_of
from gradnoise.pages.drawing import svg
from gradnoise.pages.render import LEVELS, render
from gradnoise.plots import noise_spectrum, style

CASES = cases()
VOID = {"meta", "link", "br", "wbr", "img", "hr", "input", "col"}
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*111 }}", "$x_1", "a&b 'c' é特"]
RESOURCES = ("src", "href", "xlink:href", "data", "action", "poster", "srcset")


class Page(HTMLParser):
    """A page read by the standard library: tags that close, ids, links, visible text, cells of tables."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.ids, self.links, self.tags = [], [], [], []
        self.words, self.cells, self.levels, self.wrong = [], [], [], []
        self.feed(text)
        self.close()
        self.wrong += self.stack

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.links += [attributes[key] for key in RESOURCES if key in attributes]
        if tag in ("td", "dd"):
            self.cells.append("")
        if tag not in VOID:
            self.stack.append((tag, attributes.get("class") or ""))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1][0] != tag:
            self.wrong.append(tag)
        else:
            self.stack.pop()

    def handle_data(self, data):
        names = [tag for tag, _ in self.stack]
        if "style" in names or "script" in names:
            return
        self.words.append(data)
        if "td" in names or "dd" in names:
            self.cells[-1] += data
        if any(look.startswith("level") for _, look in self.stack):
            self.levels.append(data)


@pytest.fixture(scope="module")
def pages():
    return {name: render(results) for name, results in CASES.items()}


@pytest.fixture(scope="module")
def read(pages):
    return {name: Page(text) for name, text in pages.items()}


@pytest.mark.parametrize("name", CASES)
def test_tags_balance_and_ids_are_unique(read, name):
    page = read[name]
    assert not page.wrong
    assert len(set(page.ids)) == len(page.ids)
    assert page.tags[0][0] == "html"


@pytest.mark.parametrize("name", CASES)
def test_the_page_loads_nothing(pages, read, name):
    page = read[name]
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "img", "base", "form"}
    assert not re.search(r"https?:|@import|//cdn", pages[name])
    assert set(re.findall(r"url\(([^)]*)\)", pages[name])) <= {f"#{key}" for key in page.ids}
    policy = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.mark.parametrize("name", CASES)
def test_figures_have_words_for_those_who_do_not_see_them(read, name):
    page = read[name]
    figures = [a for tag, a in page.tags if tag == "svg" and a.get("class") == "plot"]
    assert len(figures) >= 3
    for figure in figures:
        assert figure["role"] == "img"
        assert set(figure["aria-labelledby"].split()) <= set(page.ids)


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_small(pages, name):
    assert len(pages[name].encode()) < 700_000


def spelled(text):
    """Numbers as a reader reads them: thin spaces, signs and powers of ten undone, "(a ± b)·10ⁿ" as two."""
    text = text.replace("\u202f", "").replace("−", "-")
    text = re.sub(r"\(([^ ]+) ± ([^ ]+)\)(·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", r"\1\3 \2\3", text)
    down = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    text = re.sub(r"·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda power: "e" + power[1].translate(down), text)
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


SKIPPED = {"index", "seed", "x", "density", "drift_limit", "seconds", "cpu_seconds", "total_seconds", "max_time"}


def numbers_of(results, key=""):
    """All numbers of the results but counts of time, the marginals' curves and positions."""
    if key in SKIPPED or isinstance(results, (bool, str)) or results is None:
        return []
    if isinstance(results, dict):
        return [pair for name, value in results.items() for pair in numbers_of(value, name)]
    if isinstance(results, list):
        return [pair for value in results for pair in numbers_of(value, key)]
    return [(key, float(results))]


@pytest.mark.parametrize("name", ["wine", "ill", "one", "nulls"])
def test_every_number_of_the_tables_is_on_the_page(read, name):
    shown = [number for cell in [*read[name].cells, *read[name].words] for number in spelled(cell)]
    for key, number in numbers_of(CASES[name]):
        if number == 0 or (abs(number) < formats.TINY and key.startswith(("kl_", "predicted_kl"))):
            continue
        # a standard error has the digits of its value, hence one at least
        tolerance = 0.3 if key.endswith("standard_error") else 0.0501 if key.endswith("shift") else 0.00501
        assert any(abs(value - number) <= tolerance * abs(number) for value in shown), (key, number)


def ladder(results, rungs, key=""):
    """The same results with a number of its own in every place: each 2 % above the one before, so none passes for another."""
    if key in SKIPPED or isinstance(results, (bool, str)) or results is None:
        return results
    if isinstance(results, dict):
        return {name: ladder(value, rungs, name) for name, value in results.items()}
    if isinstance(results, list):
        return [ladder(value, rungs, key) for value in results]
    return round(next(rungs))


def test_every_place_of_the_results_has_its_place_on_the_page():
    results = ladder(sample(1), (1e4 * 1.02**k for k in count()))
    page = Page(render(results))
    shown = [number for cell in [*page.cells, *page.words] for number in spelled(cell)]
    places = numbers_of(results)
    assert len(places) > 150
    lost = {key for key, number in places if not any(abs(value - number) <= 0.0051 * number for value in shown)}
    assert lost <= {"shift", "shuffled_shift"}  # two digits only; checked in the test above


@pytest.mark.parametrize("name", ["good", "bad"])
def test_verdicts_are_the_only_place_for_not_trustworthy(name):
    results = sample(12, outcome=name)
    text = render(results)
    page = Page(text)
    verdicts = sum(method["level"] == "not trustworthy" for method in results["posterior"]["methods"])
    assert verdicts == (0 if name == "good" else 4)
    assert [word for word in page.levels if word == "not trustworthy"] == ["not trustworthy"] * 2 * verdicts
    said = sum("not trustworthy" in line["text"] for line in results["summary"])
    assert text.lower().count("not trustworthy") == 2 * verdicts + said
    assert not re.search(r"not[-_ ]?trust", re.search(r"<style>.*?</style>", text, re.DOTALL)[0])


def test_hostile_names_are_text():
    results = sample(5, names=HOSTILE)
    results["problem"] |= {"name": HOSTILE[0], "target": HOSTILE[1], "notes": HOSTILE}
    results["meta"]["command"] = "gradnoise report " + HOSTILE[0]
    results["summary"][0]["text"] = HOSTILE[1]
    name = HOSTILE[0]
    results["posterior"]["methods"][0]["name"] = name
    results["posterior"]["marginals"][0]["methods"][name] = results["posterior"]["marginals"][0]["methods"]["Laplace"]
    results["files"]["draws"][name] = "javascript:alert(1)"
    page = Page(render(results))
    assert not page.wrong
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    words = "".join(page.words)
    assert all(word in words for word in HOSTILE)
    assert "777" not in [word.strip() for word in page.words]


def test_what_is_missing_has_a_dash_and_its_reason(read):
    page = read["nulls"]
    words = " ".join("".join(page.words).split())
    assert "–" in words
    assert "– under “simulated”: not simulated" in words
    assert "– under “continuous time”: there is no continuous-time prediction" in words
    assert "Left out: --max-time was reached." in words
    assert "The distance was not computed." in words
    assert not re.search(r"\b(nan|None|null|Undefined|inf)\b", words)
    assert page.levels.count("not run") == 2 * len(CASES["nulls"]["posterior"]["methods"])


def test_a_direction_without_noise_and_a_method_without_numbers_have_a_page():
    results = sample(4, outcome="bad")
    silent = ("continuous", "discrete", "averaged", "simulated", "shuffled_predicted", "shuffled_simulated")
    results["stationary"]["directions"][0] |= dict.fromkeys(silent, 0.0)
    results["noise"]["noise_in_hessian_basis"][0] = 0.0
    method = results["posterior"]["methods"][0]
    words = ("name", "kind", "level", "recommended", "reasons")
    results["posterior"]["methods"][0] = dict.fromkeys(method) | {key: method[key] for key in words}
    page = Page(render(results))
    assert not page.wrong
    assert page.levels.count("not trustworthy") == 8
    assert not re.search(r"\b(nan|None)\b", "".join(page.words))


@pytest.mark.parametrize("section", ["problem", "noise", "stationary", "posterior", "scaling", "files"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_section_that_was_not_computed_is_said_so(section, absent, monkeypatch):
    monkeypatch.setattr(page_of, "svg", lambda axes, *words: f'<svg class="plot"><title>{axes.figure}</title></svg>')
    results = sample(3)
    if absent:
        del results[section]
    else:
        results[section] = None
    page = Page(render(results))
    assert not page.wrong
    assert ("This part was not computed" in "".join(page.words)) == (section != "files")


def test_sections_stand_in_order(pages):
    text = pages["wine"]
    order = [
        text.index(f'<section id="{key}"')
        for key in ("summary", "problem", "noise", "stationary", "posterior", "scaling", "method")
    ]
    assert order == sorted(order)


def test_long_tables_are_folded_short_ones_are_not(pages):
    assert "<details" not in pages["wine"]
    assert pages["large"].count("<details") == 3
    assert pages["large"].count('<div class="scroll"') == pages["large"].count("<table") == 8


def test_a_page_is_the_same_twice_and_comes_from_json_alone(pages):
    assert render(json.loads(json.dumps(CASES["ill"]))) == pages["ill"]


def test_levels_have_word_sign_and_colour(pages):
    assert {style for style, _, _ in LEVELS.values()} == {"good", "warn", "bad", "info"}
    for colour, sign, word in LEVELS.values():
        assert sign
        assert word
        assert f".level-{colour}" in pages["wine"]


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="results must be a mapping with the keys meta, summary, got 3"):
        render(3)
    with pytest.raises(ValueError, match="results must have the key 'summary', got"):
        render({"meta": {}})
    results = deepcopy(CASES["one"])
    results["summary"][0]["level"] = "superb"
    with pytest.raises(ValueError, match=r"level must be one of 'good', 'warn', .* got 'superb'"):
        render(results)


def test_figures_take_the_colours_of_the_page(pages):
    sheet = re.search(r"<style>.*?</style>", pages["wine"], re.DOTALL)[0]
    dark = sheet[sheet.index("prefers-color-scheme: dark") :]
    for name, value in style.PALETTE.items():
        assert f"--{name}: {value}" in sheet
        assert f"--{name}: #" in dark[: dark.index("\n}")]
    for figure in re.findall(r'<svg class="plot".*?</svg>', pages["wine"], re.DOTALL):
        assert "var(--" in figure
        assert not re.search(r"#[0-9a-f]{6}", re.sub(r'(id|href)="[^"]*"|url\([^)]*\)', "", figure))


def test_the_text_of_a_figure_is_left_alone():
    axes = noise_spectrum([1.0, 2.0], [0.5, 0.1])
    text = 'id="x" href="#y" 0.123456 #0072b2 <b>'
    axes.set_title(text, parse_math=False)
    page = Page(svg(axes, "here", "a <title>", "b & c"))
    assert not page.wrong
    assert text in page.words
    assert "a <title>" in page.words
    assert all(key.startswith("here-") for key in page.ids)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99996, "1.00"), (999.6, "1\u202f000"), (-0.00123, "−0.00123"), (9.996e-4, "0.00100"), (1.2e-4, "1.20·10⁻⁴"), (123456.0, "123\u202f000"), (4.5e6, "4.50·10⁶"), (float("inf"), "∞")],
)  # fmt: skip
def test_numbers_are_written_for_readers(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1.0, 0.0, "1.00 ± 0.00"), (1234.5, 3.2, "1\u202f234 ± 3"), (0.5, 0.2, "0.500 ± 0.200"), (-2.5e-6, 1e-8, "(−2.500 ± 0.010)·10⁻⁶")],
)  # fmt: skip
def test_a_measured_number_keeps_its_error(value, error, text):
    assert formats.measured(value, error) == text

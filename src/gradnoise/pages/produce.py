"""report: compute in stages, keep every number in one JSON file, render the page from that file alone."""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import __version__, _checks, advice, derivatives, measure, theory
from gradnoise import mode as modes
from gradnoise.infer.verdicts.sandwich import widths_at
from gradnoise.pages import local, posteriors, samplers
from gradnoise.pages.bars import Stages
from gradnoise.pages.budget import Budget
from gradnoise.pages.folder import DATA, PAGE, Shelf, require_our_page, require_place
from gradnoise.pages.outcome import Interrupted, Report, StageFailed
from gradnoise.pages.plain import plain, write_json, write_text
from gradnoise.pages.predictions import choose_settings, settled
from gradnoise.pages.stationary import stationary_section
from gradnoise.pages.subject import subject_of
from gradnoise.pages.summary import summarise
from gradnoise.stream import seed_of

MAX_TIME = 40.0  # CPU seconds of simulation
REFERENCES = ("auto", "nuts", "laplace", "exact")
STAGES = ("mode", "noise", "stationary law", "posterior", "scaling", "draws", "page")


@dataclass(frozen=True)
class Options:
    """Checked arguments of `report`."""

    batch_size: int
    learning_rate: float | None
    momentum: float
    seed: int
    num_chains: int | None
    reference: str
    budget: Budget
    command: str


def report(
    problem: Any,
    *,
    out: str | Path = "gradnoise-report",
    batch_size: int = 32,
    learning_rate: float | None = None,
    momentum: float = 0.0,
    seed: int = 0,
    num_chains: int | None = None,
    reference: str = "auto",
    max_time: float | None = None,
    prior_scale: float = 1.0,
    observation_scale: float | None = None,
    intercept_prior_scale: float | None = None,
    model: str | None = None,
    name: str | None = None,
    progress: bool = True,
    command: str = "gradnoise.report(...)",
    force: bool = False,
) -> Report:
    """Measure, predict and simulate the gradient noise of a problem, sample its posterior, and write a page about it.

    Parameters
    ----------
    problem
        A `Problem`, or a `datasets.Dataset` (then standardised, with an intercept, and a linear model's target too).
    out
        Folder for index.html, report.json and draws-*.nc: new, empty, or of an older report, whose files are replaced.
    batch_size, learning_rate, momentum
        SGD as you run it. None: a quarter of the stability edge.
    seed
        Of all simulations.
    num_chains
        Chains of every simulation; None: 64 or fewer for the stationary law, 16 or fewer for the samplers.
    reference
        As in `infer.reference`: "auto", "exact", "nuts" or "laplace".
    max_time
        CPU seconds that all simulations may take; None: 40. A model of their cost turns it into steps, so that the
        simulations do not depend on the machine's speed. NUTS comes on top, up to 30 s or `max_time`: whether "auto" takes it is
        decided by timing the gradient here, so name the reference where the same numbers are wanted on every machine.
    prior_scale, model
        For a `Dataset`: sd of the prior of the coefficients (inf: flat), and the model where the data set does not say.
    observation_scale
        For a `Dataset` and a linear model: sd of the residuals, in standard deviations of the target. None estimates it, which
        takes more examples than parameters.
    intercept_prior_scale
        For a `Dataset`: sd of the prior of the intercept (inf: flat); None is `prior_scale`. The command line takes a flat one,
        but of 10 for a softmax model, where a flat one leaves no single mode.
    name
        Name of the problem on the page.
    progress
        Show a bar a stage on an interactive stderr.
    command
        What the page says it was made with.
    force
        Write into a folder with files of others, over an index.html and a report.json there; no other file is touched.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything is compiled; for a learning rate beyond the stability edge, before anything is
        simulated.
    FileExistsError, OSError
        If `out` holds files that no report wrote, or cannot be written, before anything runs.
    StageFailed
        If a stage fails; what was computed before it, draws included, is kept, and page and draws of an older report in `out` are
        removed. Draws that cannot be written cost no other file.
    Interrupted
        On Ctrl-C; the stages that were finished are kept likewise.
    """
    options = _options(problem, batch_size, learning_rate, momentum, seed, num_chains, reference, max_time, command)
    _checks.flag("force", force)
    subject = subject_of(
        problem, name=name, model=model, prior_scale=prior_scale, observation_scale=observation_scale,
        intercept_prior_scale=intercept_prior_scale,
    )  # fmt: skip
    _checks.batch_size(options.batch_size, subject.problem.num_examples, "shuffled")
    fresh = not _checks.path("out", out).exists()
    shelf = Shelf(require_place(out, force=force))
    results: dict[str, Any] = {"meta": _meta(options), "summary": []}
    draws: dict[str, Any] = {}
    with Stages(STAGES, progress) as stages:
        try:
            _compute(subject, options, results, draws, stages)
            return _write(shelf, results, draws, stages)
        except StageFailed:
            raise
        except _Refused as error:
            if fresh:
                shelf.remove()
            raise ValueError(str(error)) from None
        except KeyboardInterrupt as error:
            if len(results) == 2 and not draws:  # an older report stays as it is
                if fresh:
                    shelf.remove()
                raise Interrupted(None) from error
            raise Interrupted(_keep(shelf, results, draws, stages)) from error
        except Exception as error:
            raise StageFailed(stages.current, _keep(shelf, results, draws, stages), plain(results), error) from error


class _Refused(Exception):
    """A user's argument refused once the curvature is known."""


def rerender(path: str | Path) -> Path:
    """Write index.html again from report.json in a folder (or from the path of that file), computing nothing."""
    path = _checks.path("path", path)
    data = path / DATA if path.is_dir() else path
    if not data.is_file():
        msg = f"path must be a report's folder or its report.json, got {str(path)!r}."
        raise FileNotFoundError(msg)
    require_our_page(data.with_name(PAGE))
    return _render(data)


def _render(data: Path) -> Path:
    from gradnoise.pages.render import render

    page = data.with_name(PAGE)
    write_text(page, render(json.loads(data.read_text("utf-8"))))
    return page


def _options(
    problem: Any, batch_size: Any, learning_rate: Any, momentum: Any, seed: Any, num_chains: Any, reference: Any, max_time: Any,
    command: str,
) -> Options:  # fmt: skip
    examples = getattr(problem, "num_examples", None)
    return Options(
        batch_size=_checks.batch_size(batch_size, examples, "with_replacement" if examples is None else "shuffled"),
        learning_rate=None if learning_rate is None else _checks.positive("learning_rate", learning_rate),
        momentum=_checks.momentum(momentum),
        seed=seed_of(seed),
        num_chains=None if num_chains is None else _checks.integer("num_chains", num_chains, low=2, high=4096),
        reference=_checks.one_of("reference", reference, REFERENCES),
        budget=Budget(MAX_TIME if max_time is None else _checks.positive("max_time", max_time)),
        command=command,
    )


def _compute(subject: Any, options: Options, results: dict[str, Any], draws: dict[str, Any], stages: Stages) -> None:
    """Fill `results` stage by stage, and `draws` by method as they are made."""
    problem, size, key = subject.problem, options.batch_size, options.seed
    with stages.stage("mode"):
        derivatives.check_dense(problem)
        mode = modes.find_mode(problem)
        results["problem"] = local.problem_section(subject, mode)
    with stages.stage("noise"):
        geometry = measure.local_geometry(problem, mode)
        try:
            settings = choose_settings(geometry.hessian, options.learning_rate, size, options.momentum)
        except ValueError as error:
            raise _Refused(str(error)) from error
        law, excuse = local.variational_law(problem, mode, key)
        settings, own_law = settled(problem, geometry, settings)
        scale = theory.noise_scale(
            learning_rate=settings.learning_rate, batch_size=size, num_examples=problem.num_examples, momentum=settings.momentum
        )  # fmt: skip
        results["noise"] = local.noise_section(geometry, law, excuse, scale, widths_at(problem, law))
    with stages.stage("stationary law", 2) as part:
        results["stationary"] = stationary_section(
            problem, mode, geometry, law.covariance, settings, own_law,
            num_chains=options.num_chains, budget=options.budget, key=key, progress=part,
        )  # fmt: skip
    with stages.stage("posterior", 6) as part:
        scene = samplers.Scene(
            problem, mode, geometry, law, size, options.num_chains,
            options.budget, key,
        )  # fmt: skip
        results["posterior"] = _posterior(scene, options, draws, part)
    with stages.stage("scaling"):
        now = {"learning_rate": settings.learning_rate, "batch_size": size, "momentum": settings.momentum}
        results["scaling"] = advice.batch_change(
            now, hessian=geometry.hessian, num_examples=problem.num_examples
        ).as_dict()


def _posterior(scene: samplers.Scene, options: Options, draws: dict[str, Any], part: Any) -> dict[str, Any]:
    part("reference")
    truth, seconds = samplers.reference(
        scene.problem, scene.mode, options.reference, options.seed, _nuts_budget(options)
    )
    draws["reference"] = truth
    law = scene.law.mean, scene.law.covariance
    made, rows = posteriors.compared(_kept(samplers.methods(scene, part), draws), truth, law)
    return {
        "reference": posteriors.reference_row(truth, law, seconds),
        "batch_size": scene.batch_size,
        "methods": rows,
        "marginals": posteriors.marginals(made, truth, scene.problem.parameter_names),
    }


def _kept(methods: Iterable[samplers.Method], draws: dict[str, Any]) -> Iterator[samplers.Method]:
    """Put the draws of each method by, whatever becomes of its comparison and of the methods after it."""
    for method in methods:
        if method.posterior is not None:
            draws[method.name] = method.posterior
        yield method


def _nuts_budget(options: Options) -> float:
    """NUTS gets 30 s, or less where the user allows less for everything."""
    from gradnoise.infer.choice.reference import BUDGET_SECONDS

    return min(BUDGET_SECONDS, max(1.0, options.budget.seconds))


def _write(shelf: Shelf, results: dict[str, Any], draws: dict[str, Any], stages: Stages) -> Report:
    data, exporting = shelf.folder / DATA, "draws"
    with stages.stage(exporting):
        shelf.clear()
        failed = shelf.store_draws(results, draws)
    with stages.stage("page"):
        _finish(results, stages)
        write_json(data, plain(results))
        page = _render(data)
    if failed is not None:  # the others, the numbers and the page are there
        raise StageFailed(exporting, data, plain(results), failed) from failed
    return Report(page, data, shelf.paths, plain(results))


def _keep(shelf: Shelf, results: dict[str, Any], draws: dict[str, Any], stages: Stages) -> Path | None:
    """Write what was computed before a stage failed; return its JSON file, or None where that cannot be written."""
    data = shelf.folder / DATA
    try:
        _finish(results, stages)
        if not shelf.paths:
            shelf.clear()
        if draws:
            shelf.store_draws(results, draws)
        write_json(data, plain(results))
    except Exception:  # a full disk: the caller's error is the one to tell, and holds the results
        return None
    return data


def _finish(results: dict[str, Any], stages: Stages) -> None:
    try:
        results["summary"] = summarise(results)
    except Exception as error:  # of sections that are there, or half there: no sentence is worth the numbers
        results["summary"] = [{"level": "warn", "text": f"There is no summary: {' '.join(str(error).split())}"}]
    results["meta"] |= {
        "seconds": dict(stages.seconds),
        "cpu_seconds": dict(stages.cpu_seconds),
        "total_seconds": math.fsum(stages.seconds.values()),
    }


def _meta(options: Options) -> dict[str, Any]:
    import jax

    return {
        "version": __version__,
        "command": options.command,
        "seed": options.seed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, JAX {jax.__version__}, NumPy {np.__version__}",
        "max_time": options.budget.seconds,
    }

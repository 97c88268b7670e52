"""report: compute in stages, keep every number in one JSON file, render the page from that file alone."""

from __future__ import annotations

import datetime
import json
import math
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradnoise import __version__, _checks, advice, derivatives, measure, theory
from gradnoise import mode as modes
from gradnoise.infer.widths import widths_at
from gradnoise.pages import local, posteriors, samplers
from gradnoise.pages.bars import Stages
from gradnoise.pages.budget import Budget
from gradnoise.pages.plain import plain, write_json, write_text
from gradnoise.pages.predictions import choose_settings, settled
from gradnoise.pages.stationary import stationary_section
from gradnoise.pages.subject import subject_of
from gradnoise.pages.summary import summarise
from gradnoise.stream import seed_of

MAX_TIME = 40.0  # CPU seconds of simulation
REFERENCES = ("auto", "nuts", "laplace", "exact")
STAGES = ("mode", "noise", "stationary law", "posterior", "scaling", "draws", "page")


class StageFailed(RuntimeError):
    """A stage of a report failed; `.stage` names it, `.results` and `.path` hold what was computed before."""

    def __init__(self, stage: str, path: Path, results: dict[str, Any], cause: BaseException) -> None:
        self.stage, self.path, self.results = stage, path, results
        super().__init__(f"stage {stage!r} failed: {cause} (what was computed before it is in {str(path)!r})")


@dataclass(frozen=True)
class Report:
    """A finished report.

    Attributes
    ----------
    page, data
        Paths of index.html and report.json.
    draws
        Method -> path of its draws (NetCDF, ArviZ's schema).
    results
        Everything in report.json.
    """

    page: Path
    data: Path
    draws: dict[str, Path]
    results: dict[str, Any] = field(repr=False)

    @property
    def summary(self) -> list[dict[str, str]]:
        """The sentences on top of the page, each with its level."""
        return list(self.results["summary"])

    def __str__(self) -> str:
        return "\n".join([*(f"[{s['level']}] {s['text']}" for s in self.summary), f"page: {self.page}"])


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
    model: str | None = None,
    name: str | None = None,
    progress: bool = True,
    command: str = "gradnoise.report(...)",
) -> Report:
    """Measure, predict and simulate the gradient noise of a problem, sample its posterior, and write a page about it.

    Parameters
    ----------
    problem
        A `Problem`, or a `datasets.Dataset` (then standardised, with an intercept, and a linear model's target too).
    out
        Folder for index.html, report.json and draws-*.nc.
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
    name
        Name of the problem on the page.
    progress
        Show a bar a stage on an interactive stderr.
    command
        What the page says it was made with.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        On bad arguments, before anything is compiled; for a learning rate beyond the stability edge, before anything is
        simulated.
    StageFailed
        If a stage fails; the JSON of the stages before is kept, and page and draws of an older report in `out` are removed.
    """
    options = _options(problem, batch_size, learning_rate, momentum, seed, num_chains, reference, max_time, command)
    subject = subject_of(problem, name=name, model=model, prior_scale=prior_scale, observation_scale=observation_scale)
    _checks.batch_size(options.batch_size, subject.problem.num_examples, "shuffled")
    folder = Path(out)
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)  # now, so that a place that cannot be written is found before the work
    results: dict[str, Any] = {"meta": _meta(options), "summary": []}
    with Stages(STAGES, progress) as stages:
        try:
            draws = _compute(subject, options, results, stages)
            return _write(folder, results, draws, stages)
        except _Refused as error:
            if fresh:
                folder.rmdir()
            raise ValueError(str(error)) from None
        except (Exception, KeyboardInterrupt) as error:
            _finish(results, stages)
            _clear(folder)
            write_json(folder / "report.json", plain(results))
            if isinstance(error, KeyboardInterrupt):
                raise
            raise StageFailed(stages.current, folder / "report.json", results, error) from error


class _Refused(Exception):
    """A user's argument refused once the curvature is known."""


def rerender(path: str | Path) -> Path:
    """Write index.html again from report.json in a folder (or from the path of that file), computing nothing."""
    path = Path(path)
    data = path / "report.json" if path.is_dir() else path
    if not data.is_file():
        msg = f"path must be a report's folder or its report.json, got {str(path)!r}."
        raise FileNotFoundError(msg)
    return _render(data)


def _render(data: Path) -> Path:
    from gradnoise.pages.render import render

    page = data.with_name("index.html")
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


def _compute(subject: Any, options: Options, results: dict[str, Any], stages: Stages) -> dict[str, Any]:
    """Fill `results` stage by stage; return the draws to be written, by method."""
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
        results["posterior"], draws = _posterior(scene, options, part)
    with stages.stage("scaling"):
        now = {"learning_rate": settings.learning_rate, "batch_size": size, "momentum": settings.momentum}
        results["scaling"] = advice.batch_change(
            now, hessian=geometry.hessian, num_examples=problem.num_examples
        ).as_dict()
    return draws


def _posterior(scene: samplers.Scene, options: Options, part: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    part("reference")
    truth, seconds = samplers.reference(
        scene.problem, scene.mode, options.reference, options.seed, _nuts_budget(options)
    )
    law = scene.law.mean, scene.law.covariance
    made, rows = posteriors.compared(samplers.methods(scene, part), truth, law)
    section = {
        "reference": posteriors.reference_row(truth, law, seconds),
        "batch_size": scene.batch_size,
        "methods": rows,
        "marginals": posteriors.marginals(made, truth, scene.problem.parameter_names),
    }
    draws = {method.name: method.posterior for method in made if method.posterior is not None}
    return section, {"reference": truth, **draws}


def _nuts_budget(options: Options) -> float:
    """NUTS gets what the issue allows, 30 s, or less where the user allows less for everything."""
    from gradnoise.infer.truth import BUDGET_SECONDS

    return min(BUDGET_SECONDS, max(1.0, options.budget.seconds))


def _write(folder: Path, results: dict[str, Any], draws: dict[str, Any], stages: Stages) -> Report:
    data = folder / "report.json"
    with stages.stage("draws"):
        _clear(folder)
        paths = {name: posterior.save(folder / f"draws-{_slug(name)}.nc") for name, posterior in draws.items()}
        results["files"] = {"draws": {name: path.name for name, path in paths.items()}}
    with stages.stage("page"):
        _finish(results, stages)
        write_json(data, plain(results))
        page = _render(data)
    return Report(page, data, paths, plain(results))


def _clear(folder: Path) -> None:
    """Remove page and draws of an older report, which would lie about the new numbers."""
    for old in [*folder.glob("draws-*.nc"), folder / "index.html"]:
        old.unlink(missing_ok=True)


def _finish(results: dict[str, Any], stages: Stages) -> None:
    results["summary"] = summarise(results)
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


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

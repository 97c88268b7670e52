"""Command line: parse, call, print. JAX is imported only once a report is really made."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

EXAMPLES = ("wine", "digits", "breast-cancer", "diabetes")
INTERRUPTED = 130
LOUD = ("Caution:", "Left out", "Dropped", "Skipped", "Took", "The rows have")  # notes that are told at once
MARKS = {"good": ("green", "✓"), "warn": ("yellow", "!"), "bad": ("red", "✗"), "info": ("cyan", "·")}
SOFTMAX_INTERCEPT = 10.0  # a flat prior on the intercepts of all classes leaves no single mode
PLAIN = (  # the same in the library
    "target|weights|offset|exposure|drop|model|encode|missing|decimal|thousands|signs|separator|comment|reference|seed|momentum|out"
)
OPTIONS = {
    "batch_size": "--batch-size", "learning_rate": "--learning-rate", "prior_scale": "--prior-scale", "max_time": "--max-time",
    "observation_scale": "--observation-scale", "num_chains": "--chains", "intercept_prior_scale": "--intercept-prior-scale",
    "missing_codes": "--missing-codes",
}  # fmt: skip

app = typer.Typer(
    name="gradnoise",
    help="Measure, predict, simulate and use the noise of stochastic gradients.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a bad argument or file is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this
            raise KeyboardInterrupt
    except (KeyboardInterrupt, typer.Abort):
        _stop("interrupted; the stages that were finished are in report.json", INTERRUPTED)
    except MemoryError as error:
        _stop(f"there is not enough memory: {error or 'select rows or columns first'}", 2)
    except (ValueError, TypeError, OSError) as error:
        _stop(str(error), 2)
    except RuntimeError as error:  # a stage failed, or a search did not converge
        _stop(str(error), 2 if isinstance(error.__cause__, (ValueError, TypeError)) else 1)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises for its own options
            raise
        _stop(error.format_message() or "no command given", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _as_options(message: str) -> str:
    """Spell the library's arguments as options: encode='onehot' as --encode onehot, batch_size as --batch-size.

    >>> _as_options("batch_size must be >= 1, got 0. Pass encode='onehot'.")
    '--batch-size must be >= 1, got 0. Pass --encode onehot.'
    """
    message = re.sub(
        rf"(?<![\w-])({PLAIN}|{'|'.join(OPTIONS)})=('[^']+'|\"[^\"]+\")",
        lambda m: f"{OPTIONS.get(m[1], '--' + m[1])} {shlex.quote(m[2][1:-1])}",
        message,
    )
    message = re.sub(rf"(?<![\w-])({PLAIN})(?= (column )?(\S+ )?must )", r"--\1", message)
    return re.sub(rf"(?<![\w'-])({'|'.join(OPTIONS)})\b", lambda m: OPTIONS[m[1]], message)


def _stop(message: str, code: int) -> NoReturn:
    print("gradnoise: " + _as_options(" ".join(message.split())), file=sys.stderr)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from gradnoise import __version__

        print(f"gradnoise {__version__}")
        raise typer.Exit


@app.callback()
def _gradnoise(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure, predict, simulate and use the noise of stochastic gradients."""
    del version


def _of_table(text: str) -> Any:
    """Return an option that tells how the table is read; those have a panel of their own."""
    return typer.Option(help=text, rich_help_panel="The table")


@app.command("report")
def report_command(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Table: .csv, .csv.gz, .parquet or .npz. Without it: --example."),
    ] = None,
    target: Annotated[str | None, _of_table("Column to predict.")] = None,
    model: Annotated[str | None, typer.Option(help="linear, logistic, softmax or poisson.")] = None,
    example: Annotated[str | None, _of_table(f"{', '.join(EXAMPLES)}; without data: wine.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for index.html, report.json and the draws.")] = Path(
        "gradnoise-report"
    ),
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of SGD; default: a quarter of the stability edge.")
    ] = None,
    momentum: Annotated[float, typer.Option(help="Heavy-ball momentum of SGD, in [0, 1).")] = 0.0,
    prior_scale: Annotated[
        float, typer.Option(help="Standard deviation of the coefficients' normal prior; inf: flat.")
    ] = 1.0,
    intercept_prior_scale: Annotated[
        float | None,
        typer.Option(help="The same of the intercept; default: inf, but 10 for softmax."),
    ] = None,
    observation_scale: Annotated[
        float | None,
        typer.Option(help="Of a linear model: sd of the residuals in sds of the target; default: estimated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all simulations.")] = 0,
    chains: Annotated[int | None, typer.Option(help="Chains of every simulation; default: chosen.")] = None,
    max_time: Annotated[float | None, typer.Option(help="CPU seconds for all simulations; default: 40.")] = None,
    reference: Annotated[str, typer.Option(help="auto, nuts, laplace or exact.")] = "auto",
    missing: Annotated[str, _of_table("Rows with missing values: error or drop.")] = "error",
    missing_codes: Annotated[str | None, _of_table("What else stands for a missing value, such as '.,-999'.")] = None,
    encode: Annotated[str, _of_table("Features that are strings: error or onehot.")] = "error",
    drop: Annotated[list[str] | None, _of_table("Column to leave out; give it once for each.")] = None,
    weights: Annotated[str | None, _of_table("Column of example weights.")] = None,
    offset: Annotated[str | None, _of_table("Column added to a Poisson model's predictor (log exposure).")] = None,
    exposure: Annotated[str | None, _of_table("Column of the exposure itself, of which the log is taken.")] = None,
    separator: Annotated[str, _of_table("Of CSV files: a character, tab or space.")] = ",",
    comment: Annotated[str | None, _of_table("Of CSV files: what begins a line to skip, such as '#'.")] = None,
    decimal: Annotated[str, _of_table("Decimal mark of numbers: point or comma.")] = "point",
    thousands: Annotated[str, _of_table("Mark between thousands: none, comma, point, space or apostrophe.")] = "none",
    signs: Annotated[str, _of_table("$, €, % beside numbers: error, or drop (42% is 42).")] = "error",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")] = False,
) -> None:
    """Measure, predict and simulate the gradient noise of a table and sample its posterior; write a page about it."""
    table, name = _table(
        data, example, target, model, weights=weights, offset=offset, exposure=exposure, drop=tuple(drop or ()), encode=encode,
        missing=missing, missing_codes=missing_codes or (), decimal=decimal, thousands=thousands, signs=signs, separator=separator,
        comment=comment,
    )  # fmt: skip
    from gradnoise import _checks

    if intercept_prior_scale is None:  # flat, so that rare events and offsets are not pulled to 1/2 and to 1
        intercept_prior_scale = SOFTMAX_INTERCEPT if table.model == "softmax" else math.inf
    settings: dict[str, Any] = {
        "batch_size": batch_size, "learning_rate": learning_rate, "momentum": momentum, "prior_scale": prior_scale, "seed": seed,
        "intercept_prior_scale": intercept_prior_scale, "observation_scale": observation_scale, "num_chains": chains,
        "reference": reference, "max_time": max_time,
    }  # fmt: skip
    _check_settings(table.num_examples, settings)
    out = _checks.path("out", out)
    if not quiet and not as_json:
        print(
            f"{name}: {table.num_examples:,} examples, {table.num_features} feature{'s' if table.num_features > 1 else ''}, target {table.target_name!r}"
        )
    for note in table.notes:
        if note.startswith(LOUD):
            print(f"gradnoise: note: {_as_options(note)}", file=sys.stderr)
    _set_up_jax()
    from gradnoise import pages

    with _one_line_warnings():
        command = shlex.join(["gradnoise", *sys.argv[1:]])
        made = pages.report(table, out=out, name=name, progress=not quiet, command=command, **settings)
    if as_json:
        print(made.data.read_text("utf-8"))
    elif not quiet:
        _print(made)


def _table(
    data: Path | None, example: str | None, target: str | None, model: str | None, **policy: Any
) -> tuple[Any, str]:
    """Return the data set and its name; nothing here needs JAX."""
    from gradnoise import _checks, datasets

    if data is not None and example is not None:
        msg = f"give either DATA or --example, got {str(data)!r} and {example!r}."
        raise ValueError(msg)
    if data is None:
        given = {"target": target, "model": model, **policy}
        usual = {
            "encode": "error",
            "missing": "error",
            "decimal": "point",
            "thousands": "none",
            "signs": "error",
            "separator": ",",
        }
        extra = [
            f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, (), usual.get(name))
        ]
        if extra:
            msg = f"{', '.join(extra)} must come with DATA; examples have their own."
            raise ValueError(msg)
        name = _checks.one_of("--example", example or "wine", EXAMPLES)
        return datasets.example(name), name
    if target is None or model is None:
        missing = "--target COLUMN" if target is None else "--model linear|logistic|softmax|poisson"
        msg = f"{missing} must be given with DATA."
        raise ValueError(msg)
    _checks.one_of("--model", model, ("linear", "logistic", "softmax", "poisson"))
    try:
        table = datasets.load(data, target=target, model=model, **policy)
    except (ValueError, TypeError, OSError, MemoryError):
        raise
    except Exception as error:  # something in the file that no check has foreseen
        msg = f"{data.name!r} cannot be read: {type(error).__name__}: {error}"
        raise ValueError(msg) from error
    return table, data.name.split(".")[0] or data.name


def _check_settings(num_examples: int, given: dict[str, Any]) -> None:
    """Refuse bad settings before JAX is imported; `pages.report` checks the same again."""
    from gradnoise import _checks

    _checks.batch_size(given["batch_size"], num_examples, "shuffled")
    _checks.momentum(given["momentum"])
    _checks.one_of("reference", given["reference"], ("auto", "nuts", "laplace", "exact"))
    _checks.integer("seed", given["seed"], low=0, high=2**64 - 1)
    if given["num_chains"] is not None:
        _checks.integer("num_chains", given["num_chains"], low=2, high=4096)
    for name in ("learning_rate", "max_time", "observation_scale", "prior_scale", "intercept_prior_scale"):
        if given[name] is not None and not (given[name] == math.inf and name.endswith("prior_scale")):
            _checks.positive(name, given[name])


def _set_up_jax() -> None:
    """Keep compiled programs in the user's cache folder, and float32 the default whatever the environment says."""
    import jax

    with contextlib.suppress(OSError, RuntimeError):  # a read-only home, or none: compile anew each time
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_enable_x64", False)


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "gradnoise" / "jax"


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings as one line each on stderr, without their source."""
    before = warnings.showwarning

    def show(message: Any, *_details: Any, **_more: Any) -> None:
        print(f"gradnoise: warning: {message}", file=sys.stderr)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _print(made: Any) -> None:
    """Print the summary, coloured on a terminal, and where the files are."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    scale = made.results["problem"]["observation_scale"]
    if scale is not None and made.results["problem"]["observation_scale_from"] == "estimated":
        console.print(
            f"observation scale {scale:.4g} (sd of the residuals at the mode, in standard deviations of the target)"
        )
    for sentence in made.summary:
        colour, mark = MARKS[sentence["level"]]
        console.print(f"[{colour}]{mark}[/{colour}] ", end="")
        console.print(sentence["text"], markup=False)
    console.print(
        f"page: {made.page}  numbers: {made.data}  ({made.results['meta']['total_seconds']:.0f} s)", markup=False
    )


if __name__ == "__main__":
    main()

"""What all tests share: the real data, the false-fail budget of the session, and new seeds for `pytest -m fresh_seeds`."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import numpy as np
import pytest

# two workers share two cores: BLAS threads of their own make a fourth-moment edge take 76 s instead of 6
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# half of the suite's time is compilation: workers share it, and the next run finds it done
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

SHARED = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
BUDGET = 1e-4  # the chance that any statistical test of a session fails although all is right
LEVEL = 1e-7  # of one check that names none, nor its test by the mark `false_fail(level)`: hundreds of them share the budget
UNCOUNTED = ("tests/testing/", "src/")  # these try the assertions themselves, on samples that never change
SHIFT = "GRADNOISE_SEED"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets; the tests skip where it is absent, but never in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing: in CI the real data must be there")
        pytest.skip(f"no real data at {SHARED}; set GRADNOISE_DATA")
    return SHARED


def fresh(config: pytest.Config) -> bool:
    """Whether new seeds were asked for by `-m fresh_seeds`."""
    return "fresh_seeds" in (config.option.markexpr or "")


def pytest_configure(config: pytest.Config) -> None:
    """Under `-m fresh_seeds` every seed of a simulation is moved by GRADNOISE_SEED, or by the day where that is not set."""
    if not fresh(config):
        return
    os.environ.setdefault(SHIFT, str(datetime.datetime.now(datetime.UTC).toordinal()))  # inherited by the workers
    shift = int(os.environ[SHIFT])
    import gradnoise.stream

    chain_keys = gradnoise.stream.chain_keys

    def moved(seed: int, chains: object, era: int = 0) -> object:
        return chain_keys((seed + 0x9E3779B97F4A7C15 * shift) % (1 << 64), chains, era)

    gradnoise.stream.chain_keys = moved


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which seeds a fresh run used, so that a failure can be had again."""
    return [f"fresh seeds: {SHIFT}={os.environ[SHIFT]}"] if fresh(config) else []


MACHINES = frozenset(
    line
    for line in (Path(__file__).parent / "machines.txt").read_text("utf-8").splitlines()
    if line[:1] not in ("", "#")
)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every law test is also one of the fresh seeds; those that other machines run are listed in machines.txt."""
    for item in items:
        if item.get_closest_marker("law"):
            item.add_marker("fresh_seeds")
        if item.nodeid.partition("[")[0] in MACHINES:
            item.add_marker("machines")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Note beside each test what its assertions declared; it travels with the report, from the workers too."""
    from gradnoise import testing

    if item.nodeid.startswith(UNCOUNTED):
        return (yield)
    asked = item.get_closest_marker("false_fail")
    level = LEVEL if asked is None else float(asked.args[0])
    before = len(testing.declared())
    asserts = [testing.assert_covariance, testing.assert_mean, testing.assert_estimate, testing.assert_uniform]
    usual = [function.__kwdefaults__["false_fail"] for function in asserts]
    try:
        for function in asserts:
            function.__kwdefaults__["false_fail"] = level
        return (yield)
    finally:
        for function, level in zip(asserts, usual, strict=True):
            function.__kwdefaults__["false_fail"] = level
        spent = testing.declared()[before:]
        if spent:
            item.user_properties.append(("false_fail", (len(spent), float(np.sum(spent)))))


class Ledger:
    """Adds up what the tests of a session declared."""

    def __init__(self) -> None:
        self.tests, self.checks, self.total = 0, 0, 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for _, (checks, spent) in (p for p in report.user_properties if report.when == "call" and p[0] == "false_fail"):
            self.tests, self.checks, self.total = self.tests + 1, self.checks + checks, self.total + spent

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.total > BUDGET and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.checks:
            verdict = "within" if self.total <= BUDGET else "BEYOND"
            terminalreporter.write_line(
                f"declared false-fail budget: {self.total:.3g} from {self.checks} statistical checks in {self.tests} tests, {verdict} the {BUDGET:g} allowed",
                red=self.total > BUDGET,
            )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only where reports come together: not in a worker."""
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Ledger(), "false-fail-ledger")

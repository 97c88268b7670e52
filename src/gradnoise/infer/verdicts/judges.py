"""What is made of a finished run: its judges are asked one by one, and what one of them raises never costs the draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gradnoise.engine import Divergence, Failure, Interrupted
from gradnoise.infer.verdicts.verdict import Verdict

T = TypeVar("T")


@dataclass
class Judges:
    """Asks the judges of a finished run.

    Attributes
    ----------
    run
        The `Run`, or None: after Ctrl-C `Interrupted` holds it.
    failed
        What could not be judged, a sentence each.
    """

    run: Any = None
    failed: list[str] = field(default_factory=list)

    def ask(self, name: str, judge: Callable[[], T], otherwise: T) -> T:
        """Return what a judge finds; `otherwise` where it raises, and keep why."""
        try:
            return judge()
        except KeyboardInterrupt:
            if self.run is None:
                raise
            raise Interrupted(self.run) from None
        except Exception as error:  # whatever it is: the draws are there, and worth more than what is said of them
            self.failed.append(f"No verdict: {name} failed: {_why(error)}")
            return otherwise

    def verdict(self, judge: Callable[[], Verdict]) -> Verdict:
        """Return the verdict, not trustworthy where this judge, or one before it, failed."""
        found = self.ask("the verdict", judge, Verdict("not trustworthy", (), {}))
        if not self.failed:
            return found
        return Verdict("not trustworthy", (*self.failed, *found.reasons), found.numbers)

    def add(self, name: str, verdict: Verdict, more: Callable[[], tuple[str, ...]]) -> Verdict:
        """Return the verdict with more sentences; one that cannot be made fails it too."""
        before = len(self.failed)
        none: tuple[str, ...] = ()
        reasons = self.ask(name, more, none)
        if len(self.failed) > before:
            return verdict._replace(level="not trustworthy", reasons=(*self.failed[before:], *verdict.reasons))
        return verdict._replace(reasons=(*verdict.reasons, *reasons))


def told(made: Any, name: str, more: Callable[[Any], Any]) -> Any:
    """Return `more(made)` of a `Posterior`, or, where that fails, the draws as they are with why in their verdict."""
    judges = Judges(made.run)
    found = judges.ask(name, lambda: more(made), made)
    if not judges.failed:
        return found
    return dataclasses.replace(made, verdict=judges.verdict(lambda: made.verdict))


@contextmanager
def keeping(run: Any) -> Iterator[None]:
    """Raise what fails after a run as `Failure`, which holds the run, where there is no Posterior yet to return."""
    try:
        yield
    except (Divergence, Failure):  # they hold a run
        raise
    except KeyboardInterrupt as error:
        raise (error if isinstance(error, Interrupted) else Interrupted(run)) from None
    except Exception as error:
        raise Failure(run, error) from error


def _why(error: Exception) -> str:
    """Say what was raised, as a sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}{f': {text}' if text else ''}."

"""Files: nothing of the user's is removed or overwritten, what is stored is known to be whole, and nothing computed is lost."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest
import xarray

import gradnoise as gn
from gradnoise import _text, infer, pages
from gradnoise.engine import checkpoint
from gradnoise.engine import loop as execution
from gradnoise.engine import run as runs
from gradnoise.infer import Posterior, Verdict
from gradnoise.pages import produce
from gradnoise.pages.render import render


def problem_of(names: tuple[str, ...] | None = None) -> gn.Problem:
    r = np.random.default_rng(0)
    x = r.normal(size=(40, 2))
    return gn.models.linear_regression(x, x[:, 0] + r.normal(size=40), observation_scale=1.0, names=names)


PROBLEM = problem_of()


def simulate(**settings: Any) -> gn.Run:
    return gn.simulate(
        PROBLEM, gn.oracles.minibatch(8), gn.rule(optax.sgd, learning_rate=0.05),
        **{"num_steps": 200, "num_chains": 2, "record": gn.record.draws(10), "progress": False, **settings},
    )  # fmt: skip


@functools.cache
def finished() -> gn.Run:
    return simulate()


def by_hand(names: tuple[str, ...], draws: int = 6, **settings: Any) -> Posterior:
    values = np.random.default_rng(1).normal(size=(2, draws, len(names))).astype(np.float32)
    verdict = Verdict("approximate", (f"{names[0]} is not Gaussian.",), {"kl": 0.1})
    return Posterior("by hand", values, names, None, None, 10.0, verdict, settings)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what a full disk does, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def flipped(path: Path, bit: int) -> None:
    held = bytearray(path.read_bytes())
    held[bit // 8] ^= 1 << bit % 8
    path.write_bytes(held)


# --- only what is ours is removed ------------------------------------------------------------------------------------


def test_a_checkpoint_removes_no_other_run_and_no_file_of_the_user(tmp_path: Path) -> None:
    """A2a: names with eight hexadecimal letters, dates and git hashes are nobody's side files."""
    other = simulate(checkpoint=tmp_path / "exp.c359a8f0.ck")
    for name in ("exp.20260101.txt", "exp.deadbeef.draws", "exp.0123456789abcdef.draws", "exp.part", "exp.lock"):
        (tmp_path / name).write_text("mine")
    before = set(names_in(tmp_path))
    run = simulate(key=1, checkpoint=tmp_path / "exp")
    simulate(key=1, checkpoint=tmp_path / "exp", num_steps=400)
    run.save(tmp_path / "exp")  # another token: the older side file goes
    simulate(key=1).save(tmp_path / "exp")
    made = set(names_in(tmp_path)) - before
    assert len(made) == 2, "the run and one side file"
    assert before <= set(names_in(tmp_path))
    assert (tmp_path / "exp.part").read_text() == "mine"
    np.testing.assert_array_equal(gn.Run.load(tmp_path / "exp").draws, run.draws)
    np.testing.assert_array_equal(gn.resume(tmp_path / "exp.c359a8f0.ck", progress=False).draws, other.draws)


@pytest.mark.parametrize("save", [lambda path: finished().save(path), lambda path: by_hand(("a",)).save(path)])
def test_a_save_overwrites_nothing_that_it_did_not_write(save: Callable[[Path], Any], tmp_path: Path) -> None:
    """A2, sibling: a path that names the user's data (a table, another NetCDF file, an npz, a device) is refused."""
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "data.npz", x=np.ones(3))
    xarray.Dataset({"x": ("i", np.ones(3))}).to_netcdf(tmp_path / "data.nc", engine="h5netcdf")
    os.mkfifo(tmp_path / "pipe")
    before = {name: (tmp_path / name).read_bytes() for name in ("data.csv", "data.npz", "data.nc")}
    for name in before:
        with pytest.raises(FileExistsError, match=name):
            save(tmp_path / name)
    with pytest.raises(IsADirectoryError, match="pipe is a folder or a device"):
        save(tmp_path / "pipe")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert names_in(tmp_path) == ["data.csv", "data.nc", "data.npz", "pipe"]
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "data.csv")
    for name in (
        "empty",
        "link",
        "new",
        "new",
    ):  # an empty file holds nothing; a link is replaced, its target is not touched
        save(tmp_path / name)
    assert (tmp_path / "data.csv").read_bytes() == before["data.csv"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> pages.Report:
    """A report on columns with names that no file and no page can hold as they are."""
    r = np.random.default_rng(0)
    x = r.normal(size=(300, 3))  # the shape of the table in pages/test_report, so that compiled programs are shared
    names = ("a\0b\x1b[31m", "\u202eevil/<b>", " \udc80$x$")
    table = gn.datasets.Dataset(x, x @ [1.0, -1.0, 0.5] + r.normal(size=300), names, "y\x07\u2066", model="linear")
    return gn.report(
        table,
        out=tmp_path_factory.mktemp("hostile"),
        batch_size=16,
        momentum=0.5,
        max_time=0.2,
        name="n\x1b\udcff",
        progress=False,
    )


def test_a_report_asks_before_it_writes_beside_files_of_others(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2b: nothing runs, and nothing is touched, where `out` holds what no report of ours lists."""
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("something ran"))
    foreign: dict[str, str] = {
        "draws-mine.nc": "mine",
        "index.html": "<title>mine</title>",
        "report.json": '{"meta": {}}',
        "notes": "",
    }
    for name, text in foreign.items():
        out = tmp_path / f"with {name}"
        out.mkdir()
        (out / name).write_text(text)
        with pytest.raises(FileExistsError, match=f"{name}.*force=True"):
            gn.report(PROBLEM, out=out, progress=False)
        assert names_in(out) == [name]
        assert (out / name).read_text() == text
    ours = tmp_path / "ours"
    ours.mkdir()
    shutil.copy(hostile.data, ours)
    (ours / "index.html").write_text("<title>mine</title>")
    with pytest.raises(FileExistsError, match=r"index\.html"):
        gn.report(PROBLEM, out=ours, progress=False)
    with pytest.raises(NotADirectoryError, match="out must name a folder"):
        gn.report(PROBLEM, out=ours / "index.html", progress=False)
    with pytest.raises(OSError, match="out must be a folder that can be written"):
        gn.report(PROBLEM, out=ours / "index.html" / "below", progress=False)
    with pytest.raises(OSError, match="out must be a folder that can be written"):
        gn.report(PROBLEM, out="/proc/no-such-folder", progress=False)


def test_a_report_removes_only_the_draws_that_the_older_one_lists(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2b: also draws that the user put under one of our names stay, and new ones go elsewhere; with force nothing else changes."""
    for path in hostile.page.parent.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "draws-mine.nc").write_text("mine")
    (tmp_path / "draws-laplace.nc").write_text("mine too")
    old = json.loads(hostile.data.read_text())
    old["files"]["draws"]["outside"] = "../notes.txt"
    (tmp_path / "report.json").write_text(json.dumps(old))
    (tmp_path.parent / "notes.txt").write_text("mine")

    def computed(subject: Any, options: Any, results: Any, draws: Any, stages: Any) -> None:
        del subject, options, stages
        results |= {key: value for key, value in hostile.results.items() if key not in ("meta", "files")}
        draws["Laplace"] = by_hand(("a", "b"))

    monkeypatch.setattr(produce, "_compute", computed)
    made = gn.report(PROBLEM, out=tmp_path, progress=False)
    assert names_in(tmp_path) == [
        "draws-laplace-2.nc",
        "draws-laplace.nc",
        "draws-mine.nc",
        "index.html",
        "report.json",
    ]
    assert (tmp_path / "draws-laplace.nc").read_text() == "mine too"
    assert (tmp_path.parent / "notes.txt").read_text() == "mine"
    assert made.draws == {"Laplace": tmp_path / "draws-laplace-2.nc"}
    other = tmp_path / "other"
    other.mkdir()
    for name in ("index.html", "draws-laplace.nc", "data.csv"):
        (other / name).write_text("mine")
    gn.report(PROBLEM, out=other, progress=False, force=True)
    assert names_in(other) == ["data.csv", "draws-laplace-2.nc", "draws-laplace.nc", "index.html", "report.json"]
    assert (other / "draws-laplace.nc").read_text() == (other / "data.csv").read_text() == "mine"


# --- what is stored is whole, or refused -----------------------------------------------------------------------------


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    """A3: side files had no checksum; ten of ten flips gave other draws. A flip of the npz is found, or changes nothing that is read."""
    run = simulate(record=[gn.record.draws(10), gn.record.averages(20)])
    path = run.save(tmp_path / "ck")
    r = np.random.default_rng(5)
    for side in (file for file in tmp_path.iterdir() if file != path):
        whole = side.read_bytes()
        for bit in [0, 8 * len(whole) - 1, *r.integers(0, 8 * len(whole), 20)]:
            flipped(side, int(bit))
            with pytest.raises(ValueError, match=f"{side.name} must lie beside .* is damaged: its checksum"):
                checkpoint.load(path)
            side.write_bytes(whole)
    whole, told = path.read_bytes(), []
    for bit in r.integers(0, 8 * len(whole), 60):
        flipped(path, int(bit))
        try:
            saved = checkpoint.read(path)
        except ValueError as error:
            told.append(str(error))
        else:
            path.write_bytes(whole)
            good = checkpoint.read(path)
            assert saved[:3] == good[:3], bit
            assert {k: v.tobytes() for k, v in saved.arrays.items()} == {k: v.tobytes() for k, v in good.arrays.items()}
        path.write_bytes(whole)
    assert len(told) > 40
    assert all("ck is damaged or something else" in text for text in told)
    np.testing.assert_array_equal(gn.resume(path, progress=False).draws, run.draws)


def test_checksums_cover_what_was_added_chunk_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A3: the sum of a file that grows is taken of what is new alone, and is the sum of the whole."""
    monkeypatch.setattr(execution, "CHECKPOINT_SECONDS", -1.0)
    added: list[int] = []
    append = checkpoint._files.append
    monkeypatch.setattr(
        checkpoint._files, "append", lambda path, data, **k: (added.append(len(data)), append(path, data, **k))
    )
    run = simulate(num_steps=3000, checkpoint=tmp_path / "ck")
    assert len(added) > 2
    assert sum(added) == run.draws.nbytes, "no record is written twice"
    longer = gn.resume(tmp_path / "ck", 4000, progress=False)
    back = gn.Run.load(tmp_path / "ck")
    np.testing.assert_array_equal(back.draws, longer.draws)
    again = run.extend(
        500, checkpoint=tmp_path / "ck", progress=False
    )  # an older state of the file: it must not cut what is there
    np.testing.assert_array_equal(gn.Run.load(tmp_path / "ck").draws, again.draws)
    assert len(names_in(tmp_path)) == 2


def test_every_flipped_bit_of_a_posterior_is_found(tmp_path: Path) -> None:
    """A3, C2: a flip gives one clear error, or the same posterior; it gave other draws, or errors from inside."""
    made = by_hand(("a", "b", "intercept"), draws=40, covariance=np.eye(3), rate=0.1)
    path = made.save(tmp_path / "q.nc")
    whole, r, told = path.read_bytes(), np.random.default_rng(2), []
    inside = whole.index(np.ascontiguousarray(made.draws).tobytes())
    bits = [*(8 * inside + r.integers(0, 8 * made.draws.nbytes, 10)), *r.integers(0, 8 * len(whole), 25)]
    for i, bit in enumerate(bits):
        flipped(path, int(bit))
        try:
            back = infer.load(path)
        except ValueError as error:
            told.append(str(error))
        else:
            assert i >= 10, "a flip in the draws"
            assert back.draws.tobytes() == made.draws.tobytes()
            assert (back.names, back.verdict, back.method) == (made.names, made.verdict, made.method)
            np.testing.assert_array_equal(back.settings["covariance"], np.eye(3))
        path.write_bytes(whole)
    assert len(told) >= 14
    assert all("q.nc is damaged or not ours" in text for text in told)
    assert infer.load(path).draws.tobytes() == made.draws.tobytes()


def test_nan_keeps_its_bits_and_what_others_add_is_not_damage(tmp_path: Path) -> None:
    """A3, sibling: a digest must not refuse good files: NaN of either sign, no draws' worth of text, groups that ArviZ users add."""
    odd = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])
    made = by_hand(("a",), odd=odd, unit="days since 1970-01-01", empty="", large=2**70)
    path = made.save(tmp_path / "q.nc")
    assert infer.load(path).settings["odd"].tobytes() == odd.tobytes()
    with xarray.open_datatree(path, engine="h5netcdf") as file:
        tree = file.load()
    tree["prior"] = xarray.DataTree(xarray.Dataset({"theta": ("draw", np.ones(3))}))
    tree.to_netcdf(tmp_path / "more.nc", engine="h5netcdf")
    assert infer.load(tmp_path / "more.nc").draws.tobytes() == made.draws.tobytes()
    tree["posterior"]["theta"][0, 0, 0] = 7.0
    tree.to_netcdf(tmp_path / "changed.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="it was changed since"):
        infer.load(tmp_path / "changed.nc")


def test_files_of_other_versions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A3: a file without checksums is refused, with the reason; it is not read unchecked."""
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    path = simulate().save(tmp_path / "ck")
    monkeypatch.setattr("gradnoise.infer.posteriors.stored.LAYOUT", 1)
    old = by_hand(("a",)).save(tmp_path / "q.nc")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"ck has layout 1 and not 2: another version of gradnoise wrote it"):
        gn.Run.load(path)
    with pytest.raises(ValueError, match=r"ck has layout 1"):
        simulate(checkpoint=path, num_steps=300)
    with pytest.raises(ValueError, match=r"q\.nc .* its layout is 1 and not 2"):
        infer.load(old)
    by_hand(("a",)).save(old)  # ours, so that it may be replaced
    infer.load(old)


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_posterior_that_met_a_full_disk_is_saved_elsewhere(tmp_path: Path) -> None:
    """B2: h5netcdf's half-closed file killed the interpreter at the next save."""
    made, small = by_hand(("a", "b"), draws=20_000), by_hand(("a", "b"))
    small.save(tmp_path / "q.nc")
    before = (tmp_path / "q.nc").read_bytes()
    for _ in range(2):
        with small_disk(100_000), pytest.raises(OSError, match=r"q\.nc could not be written: File too large") as caught:
            made.save(tmp_path / "q.nc")
        assert caught.value.errno == errno.EFBIG
    assert names_in(tmp_path) == ["q.nc"]
    assert (tmp_path / "q.nc").read_bytes() == before
    small.save(tmp_path / "small.nc")
    assert infer.load(made.save(tmp_path / "elsewhere.nc")).draws.tobytes() == made.draws.tobytes()


def test_a_full_disk_while_checkpointing_leaves_the_older_state(tmp_path: Path) -> None:
    """E5, held: the error names the file, the older state is read, and the rerun ends as if nothing had been."""
    whole = simulate(num_steps=6000, record=gn.record.draws(1))
    path = tmp_path / "ck"
    simulate(num_steps=2000, record=gn.record.draws(1), checkpoint=path)
    told = r"the run failed after 6,000 steps, which \.run holds: .*ck\.[0-9a-f]+\.draws could not be written: File too large"
    with small_disk(100_000), pytest.raises(runs.Failure, match=told) as caught:
        gn.Run.load(path).extend(4000, checkpoint=path, progress=False)
    np.testing.assert_array_equal(caught.value.run.draws, whole.draws)
    assert len(names_in(tmp_path)) == 2
    older = gn.Run.load(path).draws
    assert older.shape[1] >= 2000
    np.testing.assert_array_equal(older, whole.draws[:, : older.shape[1]])
    np.testing.assert_array_equal(gn.resume(path, 6000, progress=False).draws, whole.draws)
    with small_disk(1000), pytest.raises(OSError, match="could not be written"):
        whole.save(tmp_path / "new" / "ck")
    assert names_in(tmp_path / "new") == []


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_no_disk_error_leaves_anything_behind(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B2: ENOSPC at any moment, injected."""
    run, made = finished(), by_hand(("a",))

    def full(*args: Any, **settings: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if broken == "fsync" else Path, broken, full)
    for save, path in ((run.save, tmp_path / "ck"), (made.save, tmp_path / "q.nc")):
        with pytest.raises(OSError, match=f"{path.name}.* could not be written: No space left on device"):
            save(path)
    for write in (pages.plain.write_json, pages.plain.write_text):
        with pytest.raises(OSError, match="report could not be written"):
            write(tmp_path / "report", {} if write is pages.plain.write_json else "x")
    assert names_in(tmp_path) == []


# --- one writer ------------------------------------------------------------------------------------------------------


def test_a_second_run_on_the_same_path_is_refused_and_the_first_is_right(tmp_path: Path) -> None:
    """E: two processes on one checkpoint. The lock belongs to the open file, so that a second run in this process meets it too."""
    path, met = tmp_path / "ck", []

    def second(run: gn.Run) -> bool:
        for call in (lambda: simulate(num_steps=2048, checkpoint=path), lambda: run.save(path)):
            with pytest.raises(
                BlockingIOError, match=rf"ck is being written by another process \(process {os.getpid()}\)"
            ):
                call()
            met.append(run.num_steps)
        return False

    run = simulate(num_steps=2048, checkpoint=path, until=second)
    assert met == [1024, 1024, 2048, 2048]
    np.testing.assert_array_equal(run.draws, simulate(num_steps=2048).draws)
    np.testing.assert_array_equal(gn.Run.load(path).draws, run.draws)
    assert len(names_in(tmp_path)) == 2
    finished = simulate(num_steps=2048, checkpoint=path)  # read only: nothing is left to run
    np.testing.assert_array_equal(finished.draws, run.draws)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """E: its lock does not block, and names the files that were being made. Files that only look alike stay."""
    mine = ["ck.0123456789abcdef.draws", "ck.ffffffffffffffff.txt", "other"]
    left = ["ck.00112233445566aa.draws", "ck.00112233445566aa.part"]
    for name in (*mine, *left):
        (tmp_path / name).write_text("x")
    noted = {"process": 1, "files": [*left, "../other", "ck.../other", "other"]}
    (tmp_path / ".ck.lock").write_text(f"gradnoise lock\n{json.dumps(noted)}")
    simulate(checkpoint=tmp_path / "ck")
    assert {name for name in (*mine, *left, ".ck.lock") if (tmp_path / name).exists()} == set(mine)
    (tmp_path / ".ck.lock").write_text("a file of the user's")
    with pytest.raises(FileExistsError, match=r"\.ck\.lock is a file of another kind"):
        simulate(checkpoint=tmp_path / "ck", num_steps=300)
    (tmp_path / ".ck.lock").unlink()
    (tmp_path / ".ck.lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=r"\.ck\.lock can be written"):
        simulate(checkpoint=tmp_path / "ck", num_steps=300)
    assert not (tmp_path / "target").exists(), "a link is not followed"


# slow: more of the same
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(kills: int) -> None:
    """Issue, 5: `--kills 50` by hand."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", str(kills), "--seed", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{kills} kills" in done.stdout


# --- paths -----------------------------------------------------------------------------------------------------------

BAD = {
    "NUL": ("a\0b", ValueError, "must be a path that the file system can hold"),
    "half character": ("a\ud800b", ValueError, "must be a path that the file system can hold"),
    "too long": ("n" * 250, OSError, "File name too long"),
    "folder": ("folder", IsADirectoryError, "must name a file"),
    "below a file": ("file/ck", OSError, "must name a file in a place that can be written"),
    "no path": (7, TypeError, "must be a path"),
}


@functools.cache
def langevin() -> Any:
    return infer.plan("langevin", PROBLEM, batch_size=8, step_size=1e-3)


@pytest.mark.parametrize("kind", BAD)
def test_bad_checkpoint_paths_are_refused_before_the_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B3: after the first chunk it was too late. A name must leave room for what we append."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    path, error, match = BAD[kind]
    run, plan = finished(), langevin()
    monkeypatch.setattr(runs, "execute", lambda *a, **k: pytest.fail("it ran"))
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    small: dict[str, Any] = {"num_draws": 4, "num_chains": 2, "progress": False}
    calls: list[Callable[[], Any]] = [
        lambda: simulate(checkpoint=path),
        lambda: run.extend(10, checkpoint=path, progress=False),
        lambda: plan.run(checkpoint=path, **small),
        lambda: infer.corrected_langevin(PROBLEM, batch_size=8, checkpoint=path, **small),
        lambda: infer.variational_em(PROBLEM, batch_size=8, checkpoint=path, **small),
    ]
    for call in calls:
        with pytest.raises(error, match=match) as caught:
            call()
        assert "checkpoint" in str(caught.value)
    with pytest.raises(error, match=match):
        run.save(path)
    assert names_in(tmp_path) == ["file", "folder"]


def test_read_only_places_are_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B3: but a file there that holds all steps is read."""
    run = simulate(checkpoint=tmp_path / "ck")
    opened = os.open

    def read_only(path: Any, flags: int, *more: Any, **settings: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *more, **settings)

    monkeypatch.setattr(runs, "execute", lambda *a, **k: pytest.fail("it ran"))
    monkeypatch.setattr(os, "open", read_only)
    for path in (tmp_path / "new", tmp_path / "ck"):
        with pytest.raises(
            OSError, match=r"checkpoint must name a file in a place that can be written, but .* Read-only file system"
        ):
            simulate(num_steps=400, checkpoint=path)
    monkeypatch.undo()
    monkeypatch.setattr(os, "open", read_only)
    np.testing.assert_array_equal(simulate(checkpoint=tmp_path / "ck").draws, run.draws)


def test_a_tilde_is_the_home_folder_everywhere(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E: `save("~/x.nc")` failed and left a part file in the home and a folder called ~."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    simulate(checkpoint="~/new/ck")
    gn.resume("~/new/ck", 300, progress=False).save("~/run")
    assert gn.Run.load("~/run").num_steps == 300
    assert infer.load(by_hand(("a",)).save("~/q.nc")).names == ("a",)
    (home / "report.json").write_text('{"meta": {}, "summary": []}')
    assert pages.rerender("~/report.json") == home / "index.html"
    (home / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"index\.html is not a page of ours"):
        pages.rerender("~")
    assert names_in(here) == []
    (home / "mine").mkdir()
    (home / "mine" / "notes").touch()
    with pytest.raises(FileExistsError, match="notes"):
        gn.report(PROBLEM, out="~/mine", progress=False)


# --- names that files and pages cannot hold --------------------------------------------------------------------------


def test_names_of_any_characters_come_back_exactly(tmp_path: Path) -> None:
    """B3: NUL and half characters failed after the run."""
    names = ("a\0b", "\udc80", "a/b", " lead", "", "ü\x1b[1m", "a\u202eb", "a\\x00b", "n" * 3000)
    made = by_hand(names, **{" key/\0": np.ones(2), "": 1.0, "\ud800": "\udfff\0"})
    path = made.save(tmp_path / "q.nc")
    back = infer.load(path)
    assert back.names == names
    assert back.verdict == made.verdict
    assert list(back.settings) == list(made.settings)
    assert back.settings["\ud800"] == "\udfff\0"
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        shown = list(map(str, tree["posterior"]["parameter"].values))
    assert shown == [_text.visible(name) for name in names]
    assert shown[:2] == ["a\\x00b", "\\udc80"]


def test_a_report_on_hostile_names_is_whole_and_shows_them(hostile: pages.Report) -> None:
    """B3, E: all was simulated, then "VLEN strings do not support embedded NULLs" and no page; control characters stood raw in it."""
    page = hostile.page.read_text("utf-8")
    assert not [c for c in page if _text.HIDDEN.match(c) and c != "\n"]
    for shown in ("a\\x00b\\x1b[31m", "\\u202eevil", "\\udc80", "y\\x07\\u2066", "n\\x1b\\udcff"):
        assert shown in page.replace("<wbr>", ""), shown
    assert "evil/<b>" not in page
    raw = hostile.data.read_bytes().decode("utf-8")
    assert not [c for c in raw if _text.HIDDEN.match(c) and c != "\n"]
    held = json.loads(raw)
    assert held["problem"]["name"] == "n\x1b\udcff", "numbers and names are kept as they are"
    assert [p["name"] for p in held["problem"]["mode"]["parameters"]][:2] == ["a\0b\x1b[31m", "\u202eevil/<b>"]
    back = infer.load(hostile.draws["reference"])
    assert back.names == ("a\0b\x1b[31m", "\u202eevil/<b>", " \udc80$x$", "intercept")


def test_what_is_hidden_is_shown() -> None:
    """E: C0, C1, line and bidirectional marks; and letters of all scripts, joiners and emoji as they are."""
    hidden = [
        chr(c)
        for c in (
            *range(32),
            *range(127, 160),
            0x61C,
            0x200E,
            0x200F,
            *range(0x2028, 0x202F),
            *range(0x2066, 0x206A),
            0xD800,
        )
    ]
    assert all(_text.visible(c) == repr(c)[1:-1] for c in hidden)
    plain = "añ日本\u200dक्\u200cष👩‍💻 \u202f−·⁻⁵"
    assert _text.visible(plain) == plain
    page = render({"meta": {"command": "x\x1b]0;y\x07"}, "summary": [{"level": "good", "text": "\u202e"}]})
    assert "x\\x1b]0;y\\x07" in page


# --- nothing computed is lost ----------------------------------------------------------------------------------------


def report_that(monkeypatch: pytest.MonkeyPatch, hostile: pages.Report, end: Callable[[], Any]) -> None:
    """Let a report have all results and two draws, and then `end`."""

    def computed(subject: Any, options: Any, results: Any, draws: Any, stages: Any) -> None:
        del subject, options
        with stages.stage("posterior"):
            results |= {key: value for key, value in hostile.results.items() if key not in ("meta", "files")}
            draws |= {"reference": by_hand(("a", "b")), "Laplace": by_hand(("a", "b"))}
        with stages.stage("scaling"):
            end()

    # a real page takes a second to draw
    monkeypatch.setattr(produce, "_render", lambda data: Path(shutil.copy(hostile.page, data.parent)))
    monkeypatch.setattr(produce, "_compute", computed)


def test_a_stage_that_fails_after_the_draws_keeps_them(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws were in memory alone until all sections were done."""
    report_that(monkeypatch, hostile, lambda: 1 / 0)
    with pytest.raises(pages.StageFailed, match=r"stage 'scaling' failed: division by zero .*report\.json"):
        gn.report(PROBLEM, out=tmp_path, progress=False)
    assert names_in(tmp_path) == ["draws-laplace.nc", "draws-reference.nc", "report.json"]
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["files"]["draws"] == {"reference": "draws-reference.nc", "Laplace": "draws-laplace.nc"}
    infer.load(tmp_path / "draws-laplace.nc")


def test_draws_that_cannot_be_written_cost_nothing_else(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B2: also a full disk, a plot that fails and a summary that fails leave the rest."""
    report_that(monkeypatch, hostile, lambda: None)
    saved = Posterior.save
    monkeypatch.setattr(Posterior, "save", lambda self, path: saved(self, path) if "laplace" in str(path) else [][0])
    with pytest.raises(pages.StageFailed, match="stage 'draws' failed: list index"):
        gn.report(PROBLEM, out=tmp_path, progress=False)
    assert names_in(tmp_path) == ["draws-laplace.nc", "index.html", "report.json"]
    assert json.loads((tmp_path / "report.json").read_text())["files"]["draws"] == {"Laplace": "draws-laplace.nc"}
    monkeypatch.setattr(Posterior, "save", saved)
    monkeypatch.setattr(produce, "_render", lambda data: 1 / 0)
    monkeypatch.setattr(produce, "summarise", lambda results: 1 / 0)
    with pytest.raises(pages.StageFailed, match="stage 'page' failed: division"):
        gn.report(PROBLEM, out=tmp_path, progress=False)
    assert names_in(tmp_path) == ["draws-laplace.nc", "draws-reference.nc", "report.json"]
    assert "division by zero" in json.loads((tmp_path / "report.json").read_text())["summary"][0]["text"]
    with small_disk(100), pytest.raises(pages.StageFailed, match="could not be written") as caught:
        gn.report(PROBLEM, out=tmp_path / "full", progress=False)
    assert caught.value.path is None
    assert caught.value.results["posterior"] == hostile.results["posterior"]
    assert names_in(tmp_path / "full") == []


def test_ctrl_c_names_only_files_that_exist(
    hostile: pages.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F: "finished stages are in report.json", where there was none; and an older report is lost to nothing."""

    def pressed(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    report_that(monkeypatch, hostile, pressed)
    with pytest.raises(KeyboardInterrupt, match=r"the stages that were finished are in report\.json") as caught:
        gn.report(PROBLEM, out=tmp_path / "late", progress=False)
    assert caught.value.path == tmp_path / "late" / "report.json"
    assert names_in(tmp_path / "late") == ["draws-laplace.nc", "draws-reference.nc", "report.json"]
    monkeypatch.setattr(produce, "_compute", pressed)
    with pytest.raises(KeyboardInterrupt, match="no stage was finished, so nothing was written"):
        gn.report(PROBLEM, out=tmp_path / "early", progress=False)
    assert not (tmp_path / "early").exists()
    for path in hostile.page.parent.iterdir():
        shutil.copy(path, tmp_path / "late")
    before = {name: (tmp_path / "late" / name).read_bytes() for name in names_in(tmp_path / "late")}
    with pytest.raises(KeyboardInterrupt, match="nothing was written"):
        gn.report(PROBLEM, out=tmp_path / "late", progress=False)
    assert {name: (tmp_path / "late" / name).read_bytes() for name in names_in(tmp_path / "late")} == before

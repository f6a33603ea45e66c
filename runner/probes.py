"""`doctor`: what an engine promises, proved here and now by real, hostile tasks.

1. Plant canaries on this machine (`planted_canaries`).
2. Run the canary task (`canary.py`), which tries everything that no task may do.
3. Break each limit with a task of its own (`limit_trials`), and look at how it ended.
4. Look at what is left: processes, setuid bits, files that the caller cannot delete.

A failed *must* refuses the engine (`refuse_if_unsafe`). A limit that does not hold is
`not-enforced`: the site's policy decides whether that matters.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..schemas.errors import EngineError
from .canary_bench import Bench
from .engines.protocol import Engine, LocalImage, Mount, Progress
from .limit_trials import TRIALS, timeout
from .musts import LIMITS, MUSTS, Check
from .planted_canaries import planted


def doctor(
    engine: Engine,
    *,
    image: LocalImage | None = None,
    python: str = "python3",
    store: Path | None = None,
    limits: bool = True,
    progress: Progress | None = None,
) -> list[Check]:
    """Run every canary with this engine; `image` is any image with a Python 3, called `python`.

    Without an image one is made from this machine's own Python, in `store`. `limits=False` breaks
    none but the time limit, and takes two seconds. Raises EngineError where the engine cannot be
    used at all.
    """
    probe = engine.probe()
    say = progress or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="medperf-doctor-") as temporary:
        place = Path(temporary)
        own = False
        if image is None:
            from .engines.rootfs import python_image

            image, python = python_image(engine, store or place / "store", progress=progress)
            own = True
        bench = Bench(engine, image, python, place, own)
        say("trying what no task may do")
        checks = _musts(bench)
        for name, trial in TRIALS.items() if limits else [("time", timeout)]:
            say(f"breaking the limit: {name}")
            checks.append(trial(bench))
    checks += [Check(problem, "not-enforced", "", must=False) for problem in probe.problems]
    return checks


def refuse_if_unsafe(checks: Iterable[Check]) -> None:
    """Raise EngineError if a must does not hold, with what got through."""
    failed = [check for check in checks if check.must and check.state != "ok"]
    if failed:
        reasons = "; ".join(f"{check.requirement}: {check.detail}" for check in failed)
        raise EngineError(
            f"This engine is refused, since it does not hold what it must: {reasons}. "
            "Choose another engine, or let its administrator look at these points."
        )


def _musts(bench: Bench) -> list[Check]:
    """Run the report and turn what got through into checks."""
    inputs = bench.place / "in"
    inputs.mkdir()
    (inputs / "file").write_text("input")
    (inputs / "private").write_text("private")
    (inputs / "private").chmod(0o600)
    program = shutil.which("id")
    if os.geteuid() == 0 and program is not None:
        shutil.copyfile(program, inputs / "setuid-id")
        (inputs / "setuid-id").chmod(0o4755)
    with planted(bench) as expect:
        file = bench.place / "expect.json"
        file.write_text(json.dumps(expect))
        mounts = (
            Mount(inputs, "/canary/in"),
            Mount(file, "/canary/expect.json", kind="file"),
        )
        outcome, out = bench.run("report", mounts=mounts)
    report = out / "report.json"
    if not report.is_file():
        detail = f"the canary did not report: {outcome.detail} {outcome.log_tail[-500:]}".strip()
        return [Check(text, "unknown", detail, must=True) for text in MUSTS.values()]
    found = json.loads(report.read_text())
    checks = [_judge(name, text, found, out, must=True) for name, text in MUSTS.items()
              if name != "timeout"]  # fmt: skip
    return [*checks, _judge("nested", LIMITS["nested"], found, out, must=False)]


def _judge(name: str, text: str, found: list[list[str]], out: Path, *, must: bool) -> Check:
    attempts = [entry for entry in found if entry[0] == name]
    through = [f"{attempt}: {what}" for _, attempt, what in attempts if what is not None]
    if name == "output":
        through += _odd_outputs(out)
    if not attempts:
        return Check(text, "unknown", "it was not tried", must)
    if through:
        return Check(text, "failed" if must else "not-enforced", "; ".join(through), must)
    return Check(text, "ok", f"{len(attempts)} attempts", must)


def _odd_outputs(out: Path) -> list[str]:
    odd = []
    for path in (out, *out.rglob("*")):
        status = path.lstat()
        if status.st_mode & 0o6000:
            odd.append("a setuid file reached the outputs")
        if status.st_uid != os.geteuid():
            odd.append("an output belongs to somebody else")
    if not (out / "folder" / "file").is_file():
        odd.append("an output is missing")
    return odd

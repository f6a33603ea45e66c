"""How runs, plans and summaries look."""

from typing import TYPE_CHECKING

from ..reconciler.plan import CLOSED, State
from .output import print_table, print_text, several

if TYPE_CHECKING:
    from ..reconciler.due_runs import Ran
    from ..reconciler.passes import Summary
    from ..reconciler.plan import Plan, PlannedRun
    from ..reconciler.publish import Published

NOTHING = (
    "Nothing is asked of this site: no dataset of yours takes part in a benchmark yet.\n"
    "'medperf association ls --mine' shows what waits for a signature."
)


def print_plan(plan: "Plan") -> None:
    """One line a run, and the reasons of those that are not simply due or done."""
    rows = [
        (
            run.pair.benchmark,
            run.pair.dataset,
            run.pair.model,
            run.state,
            ", ".join(filter(None, (run.reason, *run.marks))),
        )
        for run in plan.runs
    ]
    print_table(("benchmark", "dataset", "model", "state", "why"), rows, empty=NOTHING)
    for run in plan.runs:
        asked = (State.BLOCKED, State.FAILED, State.RETRYING, State.WITHHELD)
        if run.state in asked or run.reason == CLOSED:
            print_text(f"\n{run.pair.model} on {run.pair.dataset}: {run.explanation}")
    _print_waiting(plan)


def print_summary(summary: "Summary") -> None:
    """MedPerf's table of a pass: what ran, what was there already, what failed."""
    from ..reconciler.tally import model_of, shown, tally

    ran = {one.pair.key: one for one in summary.ran}
    failed = {model_of(one.pair): one.error for one in summary.ran if one.outcome == "partial"}
    rows = [
        _row(run, ran.get(run.pair.key), failed.get(model_of(run.pair), ""))
        for run in shown(summary.plan.runs)
    ]
    headers = ("model", "local result UID", "partial result", "from cache", "state", "error")
    print_table(headers, rows, empty=NOTHING)
    counts = tally(summary.plan.runs, summary.ran)
    lines = [
        f"Total number of models: {counts.total}",
        f"    {counts.skipped} skipped (already executed, or not due)"
        + _of_which(counts.skipped_partial),
        f"    {counts.failed} failed",
        f"    {counts.ran} ran successfully" + _of_which(counts.ran_partial),
    ]
    if counts.withheld:
        lines.append(f"    {counts.withheld} ran and kept here by the disclosure check")
    if counts.stopped:
        lines.append(f"    {counts.stopped} stopped, since the registry no longer asks for them")
    print_text("\n" + "\n".join(lines))
    if not summary.ran and not summary.published and not summary.problem:
        print_text("\nNothing was left to do.")
    if summary.published:
        print_text("")
        print_published(summary.published)
    _print_waiting(summary.plan)
    if summary.problem:
        print_text("\n" + summary.problem)


def _print_waiting(plan: "Plan") -> None:
    """What waits for a person of this site, and the command that asks him."""
    release, consent = plan.of(State.AWAITING_RELEASE), plan.of(State.AWAITING_CONSENT)
    if release:
        print_text(
            f"\n{several(len(release), 'result')} waiting for your decision:\n"
            "'medperf result release --all' shows what would leave, and asks."
        )
    if consent:
        print_text(
            f"\n{several(len(consent), 'run')} waiting for your consent, one by one:\n"
            f"'medperf approve-run {consent[0].pair.local_name}' shows what would run, and asks."
        )


def print_published(published: "Published") -> None:
    """One line a proposal, with where it is merged: its page, or a command."""
    for one in published.proposals:
        print_text(
            f"Proposed {several(one.results, 'result')} on {one.branch} ({one.commit[:12]}). "
            + (one.address or f"Merge it with: medperf proposal merge {one.branch}")
        )


def _of_which(partial: int) -> str:
    return f", of which {partial} with a partial result" if partial else ""


def _row(run: "PlannedRun", ran: "Ran | None", failure: str) -> tuple[object, ...]:
    cached = ran.cached if ran else run.state not in (State.DUE, State.BLOCKED, State.FAILED)
    error = ran.error if ran and ran.error else failure
    if not error and run.state in (State.FAILED, State.WITHHELD, State.BLOCKED):
        error = run.reason
    return (
        run.pair.model,
        run.pair.local_name,
        run.pair.partial,
        cached,
        run.state,
        error.splitlines()[0][:160] if error else "",
    )

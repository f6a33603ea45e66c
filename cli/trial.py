"""How the report of a trial looks."""

from typing import TYPE_CHECKING

from .output import print_table, print_text

if TYPE_CHECKING:
    from ..reconciler.reports import TrialReport


NO_SANITY_CHECK = "No sanity check was done: the preparator has no such task."


def print_report(report: "TrialReport", *, err: bool = False) -> None:
    """The compatibility test's outcome, with the digests of all that it used.

    With `err` it is what a person sees before a question, on standard error.
    """
    lines = [
        f"Compatibility test {report.outcome} (report {report.id}, engine {report.engine}, "
        f"medperf {report.medperf})",
        f"  data        {report.data}",
    ]
    for what, digest in (
        ("preparator", report.preparator),
        ("model", report.model),
        ("evaluator", report.evaluator),
    ):
        lines.append(f"  {what:<11} {report.names.get(what, '')}\n{'':<14}{digest}")
    if not report.sanity_checked:
        lines.append(f"  {NO_SANITY_CHECK}")
    lines += [f"  {task:<11} {seconds} s" for task, seconds in report.seconds.items()]
    print_text("\n".join(lines) + "\n", err=err)
    print_table(("metric", "value"), list(report.metrics.items()), empty="No metric.", err=err)
    if not report.declared:
        print_text(
            "No benchmark was named, so these are all numbers of the evaluator's file, by their "
            "path in it.",
            err=err,
        )
    if report.not_computable:
        print_text("not computable: " + ", ".join(report.not_computable), err=err)

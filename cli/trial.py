"""How the report of a trial looks."""

from ..reconciler.trials import TrialReport
from .output import print_table, print_text


def print_report(report: TrialReport) -> None:
    """The compatibility test's outcome, with the digests of all that it used."""
    print_text(
        f"Compatibility test {report.outcome} (engine {report.engine}, medperf {report.medperf})\n"
        f"  demo dataset  {report.data}\n"
        f"  preparator    {report.preparator}\n"
        f"  model         {report.model}\n"
        f"  evaluator     {report.evaluator}\n"
        + "".join(f"  {task:<13} {seconds} s\n" for task, seconds in report.seconds.items())
    )
    print_table(("metric", "value"), list(report.metrics.items()), empty="No metric.")
    if report.not_computable:
        print_text("not computable: " + ", ".join(report.not_computable))

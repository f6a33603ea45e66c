"""Asking for an association, from either side: what `mlcube`, `dataset`, `benchmark` share."""

from typing import TYPE_CHECKING, Literal

import click

from .desk import ask_to_send, workplace, yes_option
from .output import print_text, say
from .trial import print_report

if TYPE_CHECKING:
    from ..reconciler.workplace import Workplace
    from ..registry.view import View


def associate_model(
    place: "Workplace", benchmark: str, model_uid: str, *, cache: bool, yes: bool
) -> None:
    """Tests the model, shows what would be sent, asks, proposes; merges what waits for nobody."""
    from ..reconciler.submissions import association_files, next_round, registered, trial_setup
    from ..reconciler.trials import run_trial

    view = place.view()
    item, model = view.benchmark(benchmark), view.cube(model_uid)
    next_round(view, item.ref, "models", model.ref)  # asked before the long work, not after it
    setup = trial_setup(view, item.manifest, model=registered(view, model.ref))
    report = run_trial(place, setup, say=say, cache=cache)
    print_report(report, err=True)
    files = association_files(
        place,
        view,
        benchmark=item.ref,
        side="model",
        component={"ref": model.ref, "digest": model.digest},
        trial=report.manifest(),
    )
    ask_to_send(f"{model.ref} asks to take part in {item.ref}", files, place.url, yes=yes)
    propose_association(place, view, item.ref, "model", model.ref, files)


def propose_association(
    place: "Workplace",
    view: "View",
    benchmark: str,
    side: Literal["model", "dataset"],
    component: str,
    files: dict[str, bytes],
) -> None:
    """Proposes an association, and says who signs it next; one that is approved is merged."""
    from ..reconciler.approving import merge_if_ready

    proposal = place.propose(
        f"associate-{benchmark}-{component}", files, f"Associate {component} with {benchmark}"
    )
    print_text(f"Proposed as {proposal.shown}.")
    done = merge_if_ready(place, view, proposal)
    if done is not None:
        print_text(f"It waits for nobody, so it is merged (as {done.commit[:12]}): approved.")
        return
    mine = component.partition("/")[0] == place.owner
    who = "The committee approves" if mine else f"{component.partition('/')[0]} accepts"
    option = "--model_uid" if side == "model" else "--data_uid"
    print_text(
        f"{who} it:\n  medperf association approve --benchmark {benchmark} {option} {component}"
    )


@click.command("associate")
@click.option("-b", "--benchmark", "--benchmark_uid", "benchmark", required=True, metavar="B")
@click.option("-m", "--model_uid", metavar="M", help="The model that you invite.")
@click.option("-d", "--data_uid", metavar="D", help="The dataset that you invite.")
@click.option("--no-cache", is_flag=True, help="Run the test even if it has passed here before.")
@yes_option
@click.pass_context
def invite(
    ctx: click.Context,
    benchmark: str,
    model_uid: str | None,
    data_uid: str | None,
    no_cache: bool,
    yes: bool,
) -> None:
    """Invite a model into your benchmark: tests it, signs for the committee, proposes.

    The model's owner accepts with 'medperf association approve'. A dataset cannot be invited so:
    its association says that the reference model ran on it, which only its owner can do.

    \b
    Example:
      medperf benchmark associate --benchmark chestxray --model_uid modeler/resnet
    """
    if (model_uid is None) == (data_uid is None):
        raise click.UsageError("Say either --model_uid or --data_uid.")
    with workplace(ctx) as place:
        if model_uid is None:
            view = place.view()
            item, data = view.benchmark(benchmark), view.dataset(data_uid or "")
            owner = data.ref.partition("/")[0]
            raise click.UsageError(
                f"An association of a dataset says that the reference model ran on it, and only "
                f"{owner} can do that: ask them for 'medperf dataset associate --benchmark_uid "
                f"{item.ref} --data_uid {data.ref}'. To approve it beforehand: 'medperf benchmark "
                f"settings {item.ref} --approve-datasets {owner}'."
            )
        associate_model(place, benchmark, model_uid, cache=not no_cache, yes=yes)

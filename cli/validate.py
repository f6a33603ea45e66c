"""`medperf validate`: what CI and the pre-commit hook call."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option
from .output import print_command, print_json, print_text
from .outputs import Output

if TYPE_CHECKING:
    from ..schemas.errors import Problem


@click.command("validate")
@click.argument("folder", type=click.Path(exists=True, path_type=Path), default=".")
@click.option("--base", metavar="REF", help="Judge what HEAD proposes to this branch or commit.")
@click.option("--head", metavar="REF", default="HEAD", show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="github: remarks on files and lines too, for a workflow's log.",
)
@click.option("--summary", metavar="FILE", type=Output("file"), help="Write Markdown.")
@click.option("--proposal", default="", metavar="UID", help="The proposal's name, for the summary.")
@click.option("--merge", is_flag=True, help="In a workflow of the base: merge it if nobody waits.")
@json_option
def command(
    folder: Path,
    base: str | None,
    head: str,
    form: str,
    summary: Path | None,
    proposal: str,
    merge: bool,
    as_json: bool,
) -> int:
    """Check a registry's files, or a proposal: 0 valid, 4 waits for signatures, 1 failed.

    Without --base, every document in FOLDER by itself and with what it refers to. With --base,
    what HEAD changes since it left that branch, by the rules, ownership and policy of the base;
    --summary then writes what a person needs to decide about it.

    \b
    Examples:
      medperf validate
      medperf validate --base origin/main
      medperf validate --base origin/main --format github --summary summary.md
    """
    from ..registry.checkout import judge_files, review_checkout

    if merge:
        return _merge(folder, base, head, proposal)
    if base is None:
        if summary is not None:
            raise click.UsageError("--summary is about a proposal: say --base too.")
        problems = judge_files(folder)
        if as_json:
            print_json(problems)
        else:
            _print("\n".join(str(one) for one in problems) or "Valid.", form, problems)
        return 1 if problems else 0
    verdict, written = review_checkout(folder, base, head, proposal=proposal)
    if summary is not None:
        from ..registry.summary_text import markdown

        summary.write_text(markdown(written), encoding="utf-8")
    if as_json:
        print_json(verdict)
    else:
        sentence = verdict.sentence
        sentence = sentence[:1].upper() + sentence[1:]
        _print(sentence, form, verdict.problems, verdict.waits_for)
    return {"valid": 0, "waits": 4, "failed": 1}[verdict.answer]


def _print(
    text: str, form: str, problems: "Sequence[Problem]", waits_for: Sequence[str] = ()
) -> None:
    if form == "text":
        print_text(text)
        return
    from ..registry.annotations import annotations, harmless

    print_text(harmless(text))
    for line in annotations(problems, waits_for):
        print_command(line)


def _merge(folder: Path, base: str | None, head: str, proposal: str) -> int:
    """What the merging workflow does; 0 merged, 4 a person has to act, 1 failed."""
    from ..registry.automerge import merge_if_complete

    if base is None or not (proposal.isascii() and proposal.isdigit()):
        raise click.UsageError("--merge needs --base, and the number of a pull request.")
    done = merge_if_complete(folder, base, head, int(proposal), os.environ)
    if done.commit:
        print_text(f"Merged {proposal} as {done.commit[:12]}.")
        return 0
    asked = f"\nAsked for a review: {', '.join(done.asked)}." if done.asked else ""
    failed = done.verdict.answer == "failed"
    text = f"Not merged: {done.reason}{asked}"
    _print(text, "github", done.verdict.problems if failed else ())
    return 1 if failed else 4

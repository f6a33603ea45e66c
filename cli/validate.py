"""`medperf validate`: what CI and the pre-commit hook call."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .desk import json_option
from .output import print_json, print_text

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
@click.option("--summary", metavar="FILE", type=click.Path(path_type=Path), help="Write Markdown.")
@click.option("--proposal", default="", metavar="UID", help="The proposal's name, for the summary.")
@json_option
def command(
    folder: Path,
    base: str | None,
    head: str,
    form: str,
    summary: Path | None,
    proposal: str,
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
        print_text(line)

"""`medperf validate`: what CI and the pre-commit hook call."""

from pathlib import Path

import click

from .desk import json_option
from .output import print_json, print_text


@click.command("validate")
@click.argument("folder", type=click.Path(exists=True, path_type=Path), default=".")
@click.option("--base", metavar="REF", help="Judge what HEAD proposes to this branch or commit.")
@click.option("--head", metavar="REF", default="HEAD", show_default=True)
@json_option
def command(folder: Path, base: str | None, head: str, as_json: bool) -> int:
    """Check a registry's files, or a proposal: 0 valid, 4 waits for signatures, 1 failed.

    Without --base, every document in FOLDER by itself and with what it refers to. With --base,
    what HEAD changes since it left that branch, by the rules, ownership and policy of the base.

    \b
    Examples:
      medperf validate
      medperf validate --base origin/main
    """
    from ..registry.checkout import judge_checkout, judge_files

    if base is None:
        problems = judge_files(folder)
        if as_json:
            print_json(problems)
        else:
            print_text("\n".join(str(one) for one in problems) or "Valid.")
        return 1 if problems else 0
    verdict = judge_checkout(folder, base, head)
    if as_json:
        print_json(verdict)
    else:
        sentence = verdict.sentence
        print_text(sentence[:1].upper() + sentence[1:])
    return {"valid": 0, "waits": 4, "failed": 1}[verdict.answer]

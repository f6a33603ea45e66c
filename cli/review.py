"""How a proposal looks to the person who decides about it."""

from typing import TYPE_CHECKING

from .output import print_text

if TYPE_CHECKING:
    from ..reconciler.reviewing import Review


def print_review(seen: "Review", *, err: bool = False) -> None:
    """What the summary says, the proposal's files, the rules' answer, and what would be signed."""
    from ..registry.summary_text import terminal

    proposal = seen.proposal
    print_text(f"Proposal {proposal.id}: {proposal.title}\n  head {proposal.head}\n", err=err)
    print_text(terminal(seen.summary), err=err)
    for path, data in sorted(seen.files.items()):
        if path.endswith(".yaml"):
            print_text(f"\n--- {path}\n{data.decode(errors='replace').rstrip()}", err=err)
        else:
            what = "a statement" if path.endswith(".sigstore.json") else "a file"
            print_text(f"\n--- {path}\n{what}, {len(data)} bytes", err=err)
    sentence = seen.verdict.sentence
    print_text(f"\nThe rules say: {sentence}", err=err)
    for subject in seen.to_sign:
        print_text(f"{seen.by} would sign {subject.path}", err=err)

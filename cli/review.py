"""How a proposal looks to the person who decides about it."""

from ..reconciler.reviewing import Review
from .output import print_text


def print_review(seen: Review) -> None:
    """The proposal's files, what the rules say, and what would be signed."""
    proposal = seen.proposal
    print_text(f"Proposal {proposal.id}: {proposal.title}\n  head {proposal.head}")
    for path, data in sorted(seen.files.items()):
        if path.endswith(".yaml"):
            print_text(f"\n--- {path}\n{data.decode(errors='replace').rstrip()}")
        else:
            print_text(f"\n--- {path} ({len(data)} bytes)")
    print_text(f"\n{seen.verdict.sentence[:1].upper()}{seen.verdict.sentence[1:]}")
    for subject in seen.to_sign:
        print_text(f"{seen.by} would sign {subject.path}")

"""docs/cli.md says what the commands say of themselves."""

from pathlib import Path

from medperf.cli.reference import reference

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_in_step_with_the_commands() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference(), (
        "run: python -m medperf.cli.reference > docs/cli.md"
    )

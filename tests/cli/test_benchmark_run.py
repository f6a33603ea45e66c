"""Which models `benchmark run` is asked for, by options and by a file of names."""

from pathlib import Path

import click
import pytest

from medperf.cli.benchmark_run import named_models


def test_names_come_from_options_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "models.txt"
    file.write_text("# of this week\nuni/a, b\n\nc # the new one\nb\n")
    assert named_models((), None) == ()
    assert named_models(("d", "b,e"), None) == ("d", "b", "e")
    assert named_models(("b",), file) == ("b", "uni/a", "c")


@pytest.mark.parametrize("content", [b"", b" , \n# nobody\n", b"\xff\xfe"])
def test_a_file_without_names_is_refused_rather_than_running_all(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "models.txt"
    file.write_bytes(content)
    with pytest.raises(click.UsageError, match=r"models\.txt"):
        named_models((), file)

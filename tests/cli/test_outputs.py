"""Where nothing can be written is said before any work, by each command that writes somewhere."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from medperf.cli.app import cli
from medperf.cli.outputs import Output, Storage

MEDPERF = Path(sys.executable).with_name("medperf")
INPUTS = frozenset(  # paths that are read; that they are not there is the lower rooms' to say
    (
        "--clone",
        "--data_path",
        "--labels_path",
        "--metadata_path",
        "--input",
        "--metrics",
        "--data_preparation_parameters",
        "--model_parameters",
        "--evaluator_parameters",
        "--data_preparation_additional_files",
        "--model_additional_files",
        "--evaluator_additional_files",
        "dataset import file",
    )
)


ROOT = click.Context(cli, **cli.context_settings)


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(ROOT):
        found = command.get_command(ROOT, name)
        assert found is not None
        yield from commands(found, (*path, name))


OUTPUTS = [
    (path, command, param)
    for path, command in commands()
    for param in command.params
    if isinstance(param.type, Output)
]


def test_each_path_is_read_or_is_an_output() -> None:
    unclear = [
        (path, param.opts)
        for path, command in commands()
        for param in command.params
        if isinstance(param.type, click.Path)
        and not isinstance(param.type, Output)
        and not param.type.exists
        and not {*param.opts, " ".join((*path, param.opts[0]))} & INPUTS
    ]
    assert unclear == []
    words = ("-o", "--output", "--summary", "--host", "--storage", "--target")
    named = {
        option
        for _, command in commands()
        for param in command.params
        for option in param.opts
        if not isinstance(param.type, Output)
    }
    assert not named & set(words)


@pytest.mark.parametrize(
    ("path", "command", "param"), OUTPUTS, ids=[" ".join((*p, c.opts[-1])) for p, _, c in OUTPUTS]
)
def test_an_output_that_cannot_be_written_is_a_usage_error(
    path: tuple[str, ...], command: click.Command, param: click.Parameter, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    taken = here / "taken"
    taken.write_text("a person's")
    places = ["/proc/x", "/proc/x/y", str(taken / "below"), str(here / ("x" * 300))]
    for place in places:
        words = [place] if isinstance(param, click.Argument) else [param.opts[0], place]
        with pytest.raises(click.BadParameter) as refused:
            command.make_context(path[-1], words, parent=ROOT)
        assert place in refused.value.message
        assert param.get_error_hint(refused.value.ctx) in refused.value.format_message()
    assert taken.read_text() == "a person's"
    assert [one.name for one in here.iterdir()] == ["taken"]


def test_what_can_be_written_is_taken_and_nothing_is_made(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (here / "old").write_text("old")

    def convert(kind: str, name: str) -> object:
        return Output(kind).convert(str(here / name), None, None)  # type: ignore[arg-type]

    for kind, name in (
        ("file", "new"),
        ("file", "old"),
        ("folder", "a/b/c"),
        ("folder", "folder"),
        ("either", "new"),
        ("either", "folder"),
    ):
        assert convert(kind, name) == here / name
    for kind, name, words in (
        ("file", "a/b", "there is no folder"),
        ("file", "folder", "a folder is there. Name a file"),
        ("folder", "old", "a file is there. Name a folder"),
        ("either", "a/b", "there is no folder"),
    ):
        with pytest.raises(click.BadParameter, match=words):
            convert(kind, name)
    assert sorted(one.name for one in here.iterdir()) == ["folder", "old"]


def test_a_tilde_is_left_to_the_shell_except_where_data_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("~/new", "~nosuchuser/new"):
        with pytest.raises(click.BadParameter, match="there is no folder"):
            Output("file").convert(name, None, None)
        assert Output("folder").convert(name, None, None) == Path(name)
    for name, meant in (("~/data", tmp_path / "data"), ("data", here / "data")):
        assert Storage().convert(name, None, None) == str(meant)
    with pytest.raises(click.BadParameter, match="whose home folder"):
        Storage().convert("~nosuchuser/x", None, None)
    (here / "data").write_text("a person's")
    with pytest.raises(click.BadParameter, match="a file is there"):
        Storage().convert("data", None, None)


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Modes do not bind root, so as root this is done as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o777)
        with as_an_ordinary_user():
            Output("file").convert(str(folder / "new"), None, None)
        folder.chmod(0o555)
        with as_an_ordinary_user(), pytest.raises(click.BadParameter, match="Permission denied"):
            Output("file").convert(str(folder / "new"), None, None)


def test_a_real_command_says_it_before_it_works(tmp_path: Path) -> None:
    words = ("registry", "keys", "-o", "/proc/x")
    home = tmp_path / "settings"
    done = subprocess.run(
        [MEDPERF, *words],
        env={**os.environ, "MEDPERF_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert (
        "Invalid value for '-o': Nothing can be written to '/proc/x': No such file" in done.stderr
    )
    assert "bug" not in done.stderr
    assert not home.exists()

"""The command `medperf`: finds the command's module, and turns errors into words and exit codes.

Commands are imported when they are called, so that `--help` and completion are instant: the table
below has their one line of help. Exit codes (design §11): 0 done, 1 expected failure, 2 usage,
3 bug, 4 something is due or a signature is missing, 130 interrupted.
"""

import errno
import gc
import importlib
import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from .. import __version__
from .groups import NearGroup

COMMANDS = {
    "login": "Set this machine up for a registry: key, enrolment, storage, engine.",
    "registry": "Make, verify and look at a registry.",
    "owner": "Organisations, their people and machines.",
    "mlcube": "Preparators, models and evaluators.",
    "dataset": "Prepare data, submit its metadata, ask to take part.",
    "benchmark": "Define benchmarks and look at them.",
    "association": "Approve, reject and revoke what takes part.",
    "result": "Look at results, decide what leaves, publish, verify.",
    "proposal": "Pull requests, whatever the forge.",
    "test": "The compatibility test: preparator, model, evaluator on the demo data.",
    "plan": "What a pass would do, and why it would not do the rest.",
    "reconcile": "Run what is due on this site's datasets and publish what is released.",
    "status": "Where every run of this site is.",
    "explain": "What is missing from whom before a run can happen, and what it proves.",
    "retry": "Try a failed run again.",
    "approve-run": "Consent to a run, where the site's policy asks for it.",
    "suspend": "Let this site rest: nothing starts, nothing leaves.",
    "resume": "Let a suspended site go on.",
    "doctor": "Prove that this machine can run strangers' models safely.",
    "validate": "Check a proposal, as CI and the pre-commit hook do.",
    "profile": "The registries that this machine knows.",
    "storage": "What lies on this machine: sizes, moving, making room.",
    "bundle": "Write the registry to one file, to verify it offline.",
    "completion": "Print the shell's completion script.",
}
ALIASES = {"container": "mlcube"}  # MedPerf's newer name


MACHINE = {  # faults of the machine, not of the program: what to do about each
    errno.ENOSPC: "The disk is full: make room, then give the same command again.",
    errno.EDQUOT: "Your quota is used up: make room, then give the same command again.",
    errno.EACCES: "Your account may not: change who may, or name another place.",
    errno.EPERM: "Your account may not: change who may, or name another place.",
    errno.EROFS: "That is read-only here: name another place.",
    errno.EISDIR: "A folder lies where a file belongs: move it away.",
    errno.ENOTDIR: "A file lies where a folder belongs: move it away.",
    errno.EEXIST: "Something else lies there already: name another place.",
    errno.ENAMETOOLONG: "That name is too long here: name a shorter one.",
    errno.EIO: "The disk cannot be read or written there: look at it before going on.",
}


class LazyGroup(NearGroup):
    """A group whose commands are modules of this package, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command's module, loaded now."""
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name.replace("_", "-") not in COMMANDS:
            return None
        module = importlib.import_module("." + cmd_name.replace("-", "_"), __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The commands that begin so, without importing them; else the root's own options."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=about)
            for name, about in COMMANDS.items()
            if name.startswith(incomplete)
        ]


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda word: word.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.version_option(__version__, prog_name="medperf")
@click.option("--profile", metavar="NAME", help="Act in this profile instead of the active one.")
@click.pass_context
def cli(ctx: click.Context, profile: str | None) -> None:
    """Benchmark medical AI where the data is: a Git registry, and a reconciler at each site.

    \b
    A first look:   make demo
    A new registry: medperf registry init --help
    A data site:    medperf login --help, then medperf plan and medperf reconcile
    """
    ctx.obj = profile


def main() -> None:
    """Runs the command line and exits with its code."""
    _open_what_is_closed()
    # a large registry is many objects that stay: to look through them again and again, and once
    # more at the end, costs a tenth of a second
    gc.set_threshold(300_000)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal that knows no such sign
    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Gives a caller that closed a standard stream (`<&-`, some schedulers) an empty one instead.

    Else Python has None there, and the next file that is opened would get the stream's number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def run(arguments: list[str]) -> int:
    """The exit code of one command; every message is printed."""
    from ..schemas.errors import MedperfError

    try:
        with _watched():
            answer: Any = cli.main(args=arguments, prog_name="medperf", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        _show(error)
        return 2 if isinstance(error, click.UsageError) else 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Nothing is lost; the same command goes on.", err=True)
        return 130
    except MedperfError as error:
        return _expected(str(error), error.exit_code)
    except SystemExit as error:  # click's answer to a reader that closed the pipe
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the outer frame: a bug is told with its log
        if isinstance(error, OSError) and error.errno in MACHINE:
            where = f" ({error.filename})" if error.filename else ""
            return _expected(f"{error.strerror}{where}. {MACHINE[error.errno]}", 1)
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib's words
            text = "A path begins with ~ and a name that is no user's here: write the whole path."
            return _expected(f"{text} It may stand in the settings or in MEDPERF_HOME, too.", 2)
        return _bug(error, arguments)
    return answer if isinstance(answer, int) else 0


def _watched() -> AbstractContextManager[None]:
    """Long work shows how far it is, where there is a terminal to show it on."""
    if not sys.stderr.isatty():
        return nullcontext()
    from ..schemas.progress import listening
    from .progress import foot

    line = foot()
    return nullcontext() if line is None else listening(line)


def _show(error: click.ClickException) -> None:
    """click's own words; `say` lets nothing of what was typed act on the terminal."""
    from .output import say

    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(error.ctx.get_usage())
        say(f"Try '{error.ctx.command_path} --help' for help.\n")
    say(f"medperf: {_instead(error) or error.format_message()}")


def _instead(error: click.ClickException) -> str | None:
    """What to do instead of an option that MedPerf's client has and this one has not."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    from .medperf_words import option_instead

    known = option_instead(error.ctx.command_path, error.option_name)
    return None if known is None else f"No such option {error.option_name!r}. {known}"


def _expected(message: str, code: int) -> int:
    from .output import say

    say(f"medperf: {message}")
    return code


def _bug(error: Exception, arguments: list[str]) -> int:
    """Writes what can be pasted into a report; the values of options stay out of it."""
    import platform
    import tempfile
    import traceback

    words = [word for word in arguments[:2] if not word.startswith("-")]
    trace = "".join(traceback.format_exception(error))
    report = (
        f"medperf {__version__}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}\ncommand: medperf {' '.join(words)} …\n\n{trace}"
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="medperf-bug-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(report)
        where = f"with the file {log.name}; read it first, it may name local paths"
    except OSError:  # no room even for that
        click.echo(report, err=True)
        where = "with the lines above"
    return _expected(
        f"this is a bug, not your mistake ({type(error).__name__}). Please report it {where}.", 3
    )

"""The command `medperf`: finds the command's module, and turns errors into words and exit codes.

Commands are imported when they are called, so that `--help` and completion are instant: the table
below has their one line of help. Exit codes (design §11): 0 done, 1 expected failure, 2 usage,
3 bug, 4 something is due or a signature is missing, 130 interrupted.
"""

import importlib
import sys
from typing import Any

import click

from .. import __version__

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
    "retry": "Try a failed run again.",
    "approve-run": "Consent to a run, where the site's policy asks for it.",
    "doctor": "Prove that this machine can run strangers' models safely.",
    "validate": "Check a proposal, as CI and the pre-commit hook do.",
    "profile": "The registries that this machine knows.",
    "completion": "Print the shell's completion script.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command's module, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module("." + cmd_name.replace("-", "_"), __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; a misspelt one is answered with the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


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
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of one command; every message is printed."""
    from ..schemas.errors import MedperfError

    try:
        answer: Any = cli.main(args=arguments, prog_name="medperf", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        error.show()
        return 2 if isinstance(error, click.UsageError) else 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Nothing is lost; the same command goes on.", err=True)
        return 130
    except MedperfError as error:
        from .output import say

        say(f"medperf: {error}")
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the outer frame: a bug is told with its log
        return _bug(error, arguments)
    return answer if isinstance(answer, int) else 0


def _bug(error: Exception, arguments: list[str]) -> int:
    import platform
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="medperf-bug-", suffix=".log", delete=False
    ) as log:
        log.write(f"medperf {__version__}, Python {platform.python_version()}\n")
        log.write(f"command: {arguments[:2]}\n\n")
        traceback.print_exception(error, file=log)
    click.echo(
        f"medperf: this is a bug ({type(error).__name__}). Please report it with {log.name}; "
        "read the file first, it may name local paths.",
        err=True,
    )
    return 3

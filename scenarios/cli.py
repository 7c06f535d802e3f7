"""The ``blkcrypto`` command: parse, call, print; no logic.

Exit status: 0 done; 1 a check failed (data mismatch, invariant, self-test); 2 the request is wrong; 3 points
of a sweep failed; 4 ``--check`` ended a run whose invariant broke; 130 interrupted; 143 and 129 ended by
SIGTERM and SIGHUP.  Only click is imported here: everything else is imported by the command that needs it, so
that ``--help`` and shell completion are quick.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

import blkcrypto
from blkcrypto.base.errors import BadInput, BlkCryptoError
from hwmodel.invariants import InvariantBroken
from scenarios.commands.calibrate import calibrate
from scenarios.commands.compare import compare_command
from scenarios.commands.convert import convert
from scenarios.commands.curve import curve_command
from scenarios.commands.explain import explain
from scenarios.commands.faults import faults_command
from scenarios.commands.group import Group
from scenarios.commands.image import image
from scenarios.commands.init import init
from scenarios.commands.key import key
from scenarios.commands.list import list_command
from scenarios.commands.run import replay_command, run_command
from scenarios.commands.selftest import selftest_command
from scenarios.commands.serve import serve
from scenarios.commands.status import BAD_REQUEST, DONE, INTERRUPTED, INVARIANT_BROKEN
from scenarios.commands.sweep import sweep_command
from scenarios.commands.threat import threat
from scenarios.ending import Terminated, drop_output, flush_output, terminated_by_signals, what_failed

# Newer clicks raise it for a group without a command, older ones print the help themselves.
_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
_TOO_MANY = re.compile(r"(Got unexpected extra arguments?) \(.*\)")


class _NobodyReads(Exception):
    """A broken pipe, in a form that click does not turn into an exit status of its own."""


class _Group(Group):
    """All commands."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _NobodyReads from None


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the console script; the exit status."""
    try:
        with terminated_by_signals():
            status = cli.main(args=args, prog_name="blkcrypto", standalone_mode=False)
            flush_output()
    except _NO_ARGUMENTS as error:
        click.echo(error.format_message(), err=True)  # the help of a group that was given no command
        return BAD_REQUEST
    except click.NoSuchOption as error:
        return _failed(" ".join(error.format_message().split()) + _options_hint(error.ctx))
    except click.UsageError as error:
        return _failed(_without_words(" ".join(error.format_message().split())) + _usage_hint(error))
    except click.ClickException as error:
        return _failed(" ".join(error.format_message().split()))
    except (BadInput, BlkCryptoError) as error:
        return _failed(str(error))
    except InvariantBroken as broken:
        _failed(str(broken))
        return INVARIANT_BROKEN
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (BrokenPipeError, _NobodyReads):
        drop_output()
        return DONE
    except Terminated as ended:
        return ended.status
    except MemoryError:
        return _failed("not enough memory: fewer I/Os, files or keys need less")
    except OSError as error:
        return _failed(what_failed(error))
    return status if isinstance(status, int) else DONE


def _without_words(message: str) -> str:
    """``message`` without the words that were too many: one of them may be a key, and errors get logged."""
    return _TOO_MANY.sub(r"\1", message).replace("a valid integer range", "a whole number")


def _usage_hint(error: click.UsageError) -> str:
    """How the command is called, where arguments are missing or too many."""
    ctx = error.ctx
    too_many = _TOO_MANY.match(error.message)
    if ctx is None or not (too_many or isinstance(error, click.MissingParameter)):
        return ""
    return f" Write `{' '.join(ctx.get_usage().removeprefix('Usage: ').split())}`"


def _options_hint(ctx: click.Context | None) -> str:
    """Where to look instead of guessing options, and that a scenario's keys are not options."""
    if ctx is None:
        return ""
    takes_keys = any(parameter.name == "sets" for parameter in ctx.command.params)
    keys = "; keys of the scenario are changed with --set KEY=VALUE" if takes_keys else ""
    return f" `{ctx.command_path} --help` lists the options{keys}"


def _failed(message: str) -> int:
    with suppress(OSError):
        click.echo(f"blkcrypto: {message}", err=True)
    return BAD_REQUEST


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(blkcrypto.__version__, prog_name="blkcrypto")
def cli() -> None:
    """Emulate Linux's blk-crypto inline encryption: what keys, keyslots and engines cost."""


cli.add_command(run_command)
cli.add_command(replay_command)
cli.add_command(compare_command)
cli.add_command(selftest_command)
cli.add_command(calibrate)
cli.add_command(convert)
cli.add_command(explain)
cli.add_command(init)
cli.add_command(curve_command)
cli.add_command(faults_command)
cli.add_command(image)
cli.add_command(key)
cli.add_command(list_command)
cli.add_command(serve)
cli.add_command(sweep_command)
cli.add_command(threat)


if __name__ == "__main__":
    sys.exit(main())

"""The command `lnv`: a group whose commands are the modules of `processors.commands`, loaded when they are called.

A module ``processors/commands/<name>.py`` exposes ``command``, a `click.Command`; the first line of its docstring is
what ``lnv --help`` shows. An `LnvError` ends the program with status 1 and one line; with ``--debug``, which may stand
anywhere, it shows the traceback. Loading nothing before it is called keeps ``lnv --help`` fast.
"""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import itertools
import logging
import os
import pkgutil
import signal
import sys
import threading
import weakref
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import click

from jpsi_lnv.analysis.errors import LnvError
from jpsi_lnv.processors import commands

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"], "max_content_width": 120}
DEBUG = "--debug"
FAILED = 1
INTERRUPTED = 130
TERMINATED = 143
CONFIGURATION = "lnv.toml"
# Modules whose functions Python calls when an object is no more, and the time in s until a signal comes again there.
FINALIZERS = (weakref.__file__, inspect.getfile(weakref.WeakSet))
AGAIN = 0.01


class ConfigurationError(LnvError):
    """A configuration that cannot be read, or that says something else than defaults of options."""


def _command_names() -> list[str]:
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__))


def _module_name(command: str) -> str:
    return f"{commands.__name__}.{command.replace('-', '_')}"


def _summary(command: str) -> str:
    """Return the first line of a command module's docstring without importing the module."""
    spec = find_spec(_module_name(command))
    if spec is None or spec.origin is None:
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


class LazyGroup(click.Group):
    """A group that finds its commands in `processors.commands` and imports one only to run it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands."""
        return super().parse_args(ctx, _debug_first(args))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Return the names of all commands."""
        return _command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command; None if there is none of that name."""
        if cmd_name not in _command_names():
            return None
        command: click.Command = importlib.import_module(_module_name(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their modules' docstrings."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(version("jpsi-lnv"), prog_name="lnv")
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error; all work is done in this process.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=f"Defaults of options in TOML, a table per command; {CONFIGURATION} in this directory if there is one.",
)
@click.pass_context
def lnv(ctx: click.Context, debug: bool, config: Path | None) -> None:  # noqa: ARG001 `main` looks for --debug
    """Search for J/psi -> K+ K+ e- e- + c.c., or another decay, at BESIII, from ntuples to an upper limit."""
    path = config or Path(CONFIGURATION)
    if ctx.invoked_subcommand and (config or path.is_file()):
        ctx.default_map = {ctx.invoked_subcommand: _configured(ctx, path, ctx.invoked_subcommand)}


def _configured(ctx: click.Context, path: Path, name: str) -> dict[str, Any]:
    """Return the defaults that a configuration gives the options of a command, by the names of its parameters.

    Raises:
        ConfigurationError: It cannot be read, or has a table of no command or a key of no option.
    """
    from jpsi_lnv.analysis.documents import Form, from_toml  # noqa: PLC0415 --help needs nothing of it

    wanted = 'wanted TOML with a table per command and its options as keys, such as limits.lead = "recommended"'
    form = Form("configuration", wanted, ConfigurationError, content=dict[str, dict[str, Any]], loads=from_toml)
    tables = form.read(path)
    command = lnv.get_command(ctx, name)
    options = {o.lstrip("-"): p.name for p in (command.params if command else ()) for o in (*p.opts, *p.secondary_opts)}
    if unknown := sorted(set(tables) - set(_command_names())):
        raise form.fault(path, f"has a table of no command, {unknown[0]!r}")
    given = tables.get(name, {})
    if unknown := sorted(set(given) - set(options)):
        raise form.fault(path, f"has {name}.{unknown[0]}, which is no option of `lnv {name}`")
    return {str(options[key]): value for key, value in given.items()}


def _has_debug(arguments: list[str]) -> bool:
    return DEBUG in itertools.takewhile(lambda argument: argument != "--", arguments)


def _debug_first(arguments: list[str]) -> list[str]:
    """Return arguments with ``--debug``, if it is there, before the command; behind ``--`` it is somebody else's."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    others = [argument for argument in arguments[:end] if argument != DEBUG]
    return [*([DEBUG] if _has_debug(arguments) else []), *others, *arguments[end:]]


def _of_the_system(error: OSError) -> str:
    """Return an error of the operating system in words: which file, what is wrong, where to look further."""
    where = f"{error.filename}: {error.strerror}" if error.filename else f"{type(error).__name__}: {error}"
    return f"{where}; mend it or name another path (`--debug` shows where it happened)"


def _stop(number: int, frame: FrameType | None) -> None:
    """End as if the program had asked for it, so that clusters, processes and files are left in order.

    Python ignores what is raised where objects are finalized, and in callbacks of its collector, of which dask has one;
    there the signal is sent again a moment later.

    Raises:
        KeyboardInterrupt: The signal is that of Ctrl-C.
        SystemExit: It is another one.
    """
    callbacks = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename in FINALIZERS or code in callbacks:
            threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


def _obey_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A program in the background of a script is to ignore Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def main(arguments: list[str] | None = None) -> None:
    """Run `lnv` and leave with its status.

    It is 0, 1 for an `LnvError` or an error of the operating system, 2 for wrong usage, 130 if interrupted, 143 if
    terminated (SIGTERM).
    """
    given = sys.argv[1:] if arguments is None else arguments
    # Without a home matplotlib keeps its cache in TMPDIR, and says so at length.
    logging.getLogger("matplotlib").addFilter(lambda record: record.levelno > logging.WARNING)
    if threading.current_thread() is threading.main_thread():
        _obey_signals()
    try:
        status = lnv.main(args=given, prog_name="lnv", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort as abort:
        # A run has said what is stored.
        if not getattr(abort.__cause__, "__notes__", ()):
            click.echo("stopped", err=True)
        status = INTERRUPTED
    except LnvError as error:
        if _has_debug(given):
            raise
        click.echo(f"error: {error}", err=True)
        status = FAILED
    except BrokenPipeError:
        # The reader (`head`, a pager) is gone: nothing is left to say, not even at the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    except OSError as error:
        if _has_debug(given):
            raise
        click.echo(f"error: {_of_the_system(error)}", err=True)
        status = FAILED
    sys.exit(status if isinstance(status, int) else 0)

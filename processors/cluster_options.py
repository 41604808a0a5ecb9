"""Options of the cluster that a command uses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import click
from click.core import ParameterSource

from jpsi_lnv.processors.cluster.clusters import ClusterOptions
from jpsi_lnv.processors.options import PATH, SECONDS


def _memory(ctx: click.Context, parameter: click.Parameter, given: str | None) -> str | None:  # noqa: ARG001 click's
    """Return a size as it was given, once dask can read it."""
    if given is None:
        return None
    from dask.utils import parse_bytes  # noqa: PLC0415 slow to import, and only this option needs it

    try:
        size = parse_bytes(given)
    except ValueError:
        size = 0
    if size <= 0:
        msg = f"got {given!r}; wanted a size such as 4GiB or 500MB"
        raise click.BadParameter(msg)
    return given


_CLUSTER_OPTIONS: Final = (
    click.option("--cluster", default="local", help="local, slurm, htcondor, tcp://HOST:PORT or tls://HOST:PORT."),
    click.option("--workers", type=click.IntRange(1), default=2, help="Worker processes, or jobs of a batch system."),
    click.option("--adapt", is_flag=True, help="Let the number of batch jobs follow the work, up to --workers."),
    click.option(
        "--memory", callback=_memory, help="Memory limit of a local worker, such as 4GiB.  [default: no limit]"
    ),
    click.option("--site", type=PATH, help="TOML file of site presets for slurm and htcondor (see docs/examples)."),
    click.option("--tls", is_flag=True, help="Encrypt a cluster of our own with temporary keys."),
    click.option("--tls-ca-file", type=PATH, help="Certificate of the authority, for tls://HOST:PORT."),
    click.option("--tls-cert", type=PATH, help="Certificate of this client, for tls://HOST:PORT."),
    click.option("--tls-key", type=PATH, help="Key of this client, for tls://HOST:PORT."),
    click.option("--dashboard-address", default="127.0.0.1:0", help="Where the dashboard of our own cluster listens."),
    click.option(
        "--no-workers-timeout",
        type=SECONDS,
        default=300.0,
        help="Time in s to wait for a first worker, and without any that ends a run.",
    ),
)
_CLUSTER_NAMES: Final = (
    "cluster",
    "workers",
    "adapt",
    "memory",
    "site",
    "tls",
    "tls_ca_file",
    "tls_cert",
    "tls_key",
    "dashboard_address",
    "no_workers_timeout",
)


# What other executors use too, or what does them no harm.
_FOR_ALL: Final = ("workers", "no_workers_timeout")


def _require_dask(ctx: click.Context) -> None:
    """Raise UsageError for options of a cluster that is not used: work would go where nobody wanted it."""
    executor = ctx.params.get("executor", "dask")
    where, wanted = f"--executor {executor}", "--executor dask with it"
    if ctx.params.get("debug"):
        where, wanted = "--debug, which works in this process", "one of them"
    elif executor == "dask":
        return
    for name in (*_CLUSTER_NAMES, "performance_report"):
        if name not in _FOR_ALL and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            msg = f"got --{name.replace('_', '-')} with {where}; wanted {wanted}"
            raise click.UsageError(msg)


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a cluster to a command; it gets them as one argument `where`, a `ClusterOptions`."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        _require_dask(click.get_current_context())
        where = ClusterOptions(**{name: given.pop(name) for name in _CLUSTER_NAMES})
        return function(where=where, **given)

    for option in reversed(_CLUSTER_OPTIONS):
        command = option(command)
    return command

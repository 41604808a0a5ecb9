"""Who is not the user of a run gets nowhere near its processes: not from this machine, not with keys of his own."""

import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
from run_cases import assert_same, run

from jpsi_lnv.processors.cluster.clusters import ClusterOptions, announcement, connect
from jpsi_lnv.processors.work.dask_loop import DaskExecutor

pytestmark = pytest.mark.usefixtures("quick_workers")

NOBODY = 65534
EVERYWHERE = ("0.0.0.0", "::")
# Connects as dask does and asks who is there; what a stranger gets is one word per way in.
ATTACK = """
import asyncio, os, ssl, sys
import distributed.comm.tcp
from distributed.comm import connect
from distributed.security import Security

def foreign_keys():
    context = Security.temporary().get_connection_args("client")["ssl_context"]
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"ssl_context": context}

def no_keys():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"ssl_context": context}

async def attack(address, arguments):
    try:
        comm = await connect(address, timeout=3, **arguments)
        await comm.write({"op": "identity", "reply": True})
        print("let in:", await asyncio.wait_for(comm.read(), 3))
    except Exception as error:
        print("refused", type(error).__name__)

ways = [("tcp://", {}), ("tls://", foreign_keys()), ("tls://", no_keys())]
if os.getuid() == 0:
    # After the imports: the interpreter may lie where a stranger cannot read.
    os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
for address in sys.argv[2:]:
    place = address.partition("://")[2]
    for protocol, arguments in ways:
        asyncio.run(attack(protocol + place, arguments))
"""


def attack_as_nobody(addresses):
    """Return what a stranger of this machine gets from each address, in three ways."""
    command = [sys.executable, "-c", ATTACK, str(NOBODY), *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def addresses_of(client):
    """Return where the scheduler, the workers and their nannies listen."""
    info = client.scheduler_info(n_workers=-1)
    return [info["address"], *info["workers"], *(w["nanny"] for w in info["workers"].values() if w["nanny"])]


def listening(pids):
    """Return the addresses on which processes listen."""
    found = [c for pid in pids for c in psutil.Process(pid).net_connections(kind="tcp")]
    return [c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN]


def test_nobody_gets_into_a_local_cluster():
    with connect(ClusterOptions(workers=2)) as client:
        client.wait_for_workers(2, timeout=60)
        addresses = addresses_of(client)
        answers = attack_as_nobody(addresses)
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
        pids = [os.getpid(), *client.run(os.getpid).values()]
        assert set(listening(pids)) == {"127.0.0.1"}
    assert len(addresses) == 5
    assert len(answers) == 15
    assert all(answer.startswith("refused") for answer in answers), answers


def test_the_attack_gets_into_a_cluster_that_is_open():
    """What the other tests see refused is not refused for another reason."""
    with connect(ClusterOptions(workers=1, tls=False)) as client:
        client.wait_for_workers(1, timeout=60)
        first = attack_as_nobody([client.scheduler_info()["address"]])[0]
    assert first.startswith("let in:")


@pytest.mark.parametrize("tls", [True, False])
def test_a_user_is_told_who_gets_in(tls):
    options = ClusterOptions(workers=1, tls=tls)
    with connect(options) as client:
        lines = announcement(client, options)
    assert lines[0].startswith("dask dashboard: http://127.0.0.1:")
    assert [line.startswith("warning: no TLS: everybody who reaches tcp://127.0.0.1:") for line in lines[1:]] == (
        [] if tls else [True]
    )


def test_a_dashboard_that_cannot_be_opened_is_not_printed(monkeypatch):
    options = ClusterOptions(workers=1)
    with connect(options) as client:
        monkeypatch.setattr(type(client), "dashboard_link", "http://127.0.0.1:9/status")
        assert announcement(client, options) == ["dask dashboard: none that can be reached from here"]


@pytest.mark.parametrize("interface", ["lo", None])
def test_a_batch_cluster_listens_on_one_interface_and_lets_nobody_in(
    small_fileset, reference, site, tmp_path, monkeypatch, interface
):
    if interface is None:
        site.write_text(site.read_text().replace('interface = "lo"\n', ""))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with connect(ClusterOptions(cluster="slurm", workers=2, site=site)) as client:
        client.wait_for_workers(2, timeout=60)
        keys = list(Path.cwd().glob(".dask-jobqueue.worker.*"))
        assert len(keys) == 3
        assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
        assert not set(EVERYWHERE) & set(listening([os.getpid()]))
        answers = attack_as_nobody(addresses_of(client))
        result, _ = run(small_fileset, tmp_path / "r", partial(DaskExecutor, client=client))
    assert len(answers) == 15
    assert all(answer.startswith("refused") for answer in answers), answers
    assert not list(Path.cwd().glob(".dask-jobqueue.worker.*"))
    assert_same(result, reference)

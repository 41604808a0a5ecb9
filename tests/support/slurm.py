"""A SLURM node of our own on the loopback interface: munge, slurmctld and slurmd, stopped by the ids they wrote."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hand_cluster import free_port

DAEMONS = ("munged", "slurmctld", "slurmd")
PATHS = "/usr/sbin:/usr/local/sbin:/sbin:" + os.environ.get("PATH", "")
CONFIGURATION = """
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge/sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={directory}/ctld
SlurmdSpoolDir={directory}/d
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=20000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Return the programs of SLURM and munge that are not installed."""
    return [name for name in (*DAEMONS, "sbatch", "scancel") if shutil.which(name, path=PATHS) is None]


def _call(*command: str) -> None:
    program = shutil.which(command[0], path=PATHS)
    assert program is not None
    subprocess.run([program, *command[1:]], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _start(directory: Path) -> None:
    for name in ("ctld", "d", "log", "munge"):
        (directory / name).mkdir(mode=0o700, parents=True)
    key = directory / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    import getpass

    (directory / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            directory=directory,
            controller=free_port(),
            node=free_port(),
        )
    )
    munge = directory / "munge"
    _call(
        "munged", "--force", f"--key-file={key}", f"--socket={munge}/sock", f"--pid-file={munge}/pid",
        f"--seed-file={munge}/seed", f"--log-file={directory}/log/munged.log",
    )  # fmt: skip
    _call("slurmctld", "-f", str(directory / "slurm.conf"))
    _call("slurmd", "-f", str(directory / "slurm.conf"))


def _wait_until_idle() -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        state = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False).stdout
        if "idle" in state:
            return
        time.sleep(0.2)
    raise RuntimeError("the SLURM node did not become idle")


def _stop(pid_file: Path) -> None:
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


@contextmanager
def slurm_node(directory: Path) -> Iterator[Path]:
    """Start a node, point SLURM_CONF at it, and stop it at the end; yield its configuration file."""
    before = os.environ.get("SLURM_CONF")
    configuration = directory / "slurm.conf"
    try:
        _start(directory)
        os.environ["SLURM_CONF"] = str(configuration)
        _wait_until_idle()
        yield configuration
        subprocess.run(["scancel", "--full", f"--user={os.getuid()}"], check=False, capture_output=True)
    finally:
        for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            _stop(directory / name)
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before

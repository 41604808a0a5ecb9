"""Programs as they run on a farm: as an ordinary user, from a file system that is mounted read-only, without a home.

Needs root, who can mount and become another user.
"""

import os
import shutil
import subprocess
from pathlib import Path

NOBODY = 65534
# No home can be made there, by root neither.
HOME = "/proc/none"
# SIOCSIFFLAGS of linux/sockios.h, IFF_UP and IFF_RUNNING of linux/if.h: a new network has no loopback interface.
LOOPBACK = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))
"""
# Mount a directory on itself, read-only; then leave root.
SCRIPT = """
set -e
mount --bind "$PLACE" "$PLACE"
mount -o remount,bind,ro "$PLACE"
if [ -n "$ALONE" ]; then "$PYTHON" -c "$LOOPBACK"; fi
exec setpriv --reuid {nobody} --regid {nobody} --clear-groups env -i "$@"
"""


def missing():
    """Return why nothing can be isolated here; nothing if it can."""
    if os.getuid() != 0:
        return "needs root: run as root, as .ci/run does"
    absent = [name for name in ("unshare", "setpriv", "mount") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed: make ci-packages"
    allowed = subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True).returncode == 0
    return "" if allowed else "mounts and networks of one's own are forbidden here"


def open_to_all(directory: Path) -> Path:
    """Make a directory and let every user write into it."""
    directory.mkdir()
    directory.chmod(0o777)
    return directory


def run_isolated(place, python, work, *command, network=False, **environment):
    """Run a command as nobody in `work`; return what became of it.

    Args:
        place: Directory that is read-only for it.
        python: An interpreter that can be called, to switch the loopback interface on.
        work: Directory to work in.
        command: Program and arguments.
        network: Whether it has a network.
        environment: All variables that it has besides PATH, HOME and TMPDIR.
    """
    variables = {"PATH": "/usr/bin:/bin", "HOME": HOME, "TMPDIR": str(work)} | environment
    own = ["unshare", "--mount", *([] if network else ["--net"]), "sh", "-c", SCRIPT.format(nobody=NOBODY), "sh"]
    words = [f"{name}={value}" for name, value in variables.items()]
    outer = {"PLACE": str(place), "PYTHON": str(python), "LOOPBACK": LOOPBACK, "ALONE": "" if network else "yes"}
    return subprocess.run(
        [*own, *words, *map(str, command)],
        env=os.environ | outer,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )

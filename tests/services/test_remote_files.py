"""Files on an xrootd server and on a web server are read like local ones; both servers are real, on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uproot
from run_cases import assert_same, make_fileset, run

from jpsi_lnv.analysis.errors import NtupleError
from jpsi_lnv.analysis.events import schema
from jpsi_lnv.analysis.events.dst import open_dst
from jpsi_lnv.analysis.events.ntuple_writer import make_block
from jpsi_lnv.analysis.events.run_table import Conditions, uniform
from jpsi_lnv.processors.books import fileset as filesets
from jpsi_lnv.processors.cli import main
from jpsi_lnv.processors.work.executors import IterativeExecutor
from jpsi_lnv.processors.work.worker import set_xrootd_limits

RUNS = uniform(Conditions(sqrt_s=3.097))
CONFIGURATION = """\
all.role server
xrd.port {port}
xrd.network nodnr
all.export /data r/o
oss.localroot {root}
all.adminpath {root}/admin
all.pidpath {root}/run
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, "the xrootd server ended"
        time.sleep(0.1)
    pytest.fail("the xrootd server did not listen within 10 s")


@pytest.fixture(scope="module")
def root_server(tmp_path_factory):
    """Directory and address of an xrootd server that this fixture starts and stops."""
    pytest.importorskip("fsspec_xrootd", reason="pip install 'jpsi-lnv[xrootd]'")
    if shutil.which("xrootd") is None:
        pytest.skip("no xrootd server: make ci-packages")
    root = tmp_path_factory.mktemp("xrootd")
    (root / "data").mkdir()
    port = free_port()
    (root / "xrd.cfg").write_text(CONFIGURATION.format(port=port, root=root))
    command = ["xrootd", "-I", "v4", "-c", str(root / "xrd.cfg"), "-l", str(root / "xrd.log"), "-n", "loop"]
    if os.geteuid() == 0:
        # As root the server becomes another user, who must reach the files.
        subprocess.run(["chown", "-R", "xrootd", str(root)], check=True)
        base = Path(tempfile.gettempdir())
        for parent in [root, *root.parents]:
            if base in parent.parents:
                parent.chmod(parent.stat().st_mode | 0o711)
        command += ["-R", "xrootd"]
    set_xrootd_limits()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield root / "data", f"root://127.0.0.1:{port}//data"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def root_url(boss_file, root_server):
    """Address of the real file on the xrootd server."""
    directory, address = root_server
    shutil.copyfile(boss_file, directory / "real.dst")
    return f"{address}/real.dst"


@contextlib.contextmanager
def web_server(directory, context=None):
    """A web server that serves ranges, in a thread of this process; yields its port."""
    web = pytest.importorskip("aiohttp.web")
    loop, port, started = asyncio.new_event_loop(), free_port(), threading.Event()

    async def start():
        application = web.Application()
        application.router.add_static("/data", directory)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        started.set()
        return runner

    def serve():
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(20)
    yield port
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.fixture(scope="module")
def web_url(boss_file):
    """Address of the real file on a web server."""
    with web_server(boss_file.parent) as port:
        yield f"http://127.0.0.1:{port}/data/{boss_file.name}"


@pytest.fixture(scope="module")
def local(boss_file):
    with open_dst(str(boss_file)) as dst:
        return make_block(dst.read(0, dst.n_events, RUNS))


@pytest.mark.parametrize("server", ["root_url", "web_url"])
def test_a_remote_file_has_the_same_columns(server, local, request):
    with open_dst(request.getfixturevalue(server)) as dst:
        remote = make_block(dst.read(0, dst.n_events, RUNS))
    assert remote.n_events == 10
    for name, values in local.values.items():
        np.testing.assert_array_equal(remote.values[name], values, err_msg=name)


def test_chunks_of_a_remote_file_give_the_result_of_the_local_one(root_server, tmp_path):
    directory, address = root_server
    fileset = filesets.load(make_fileset(directory, {"signal": [300]}))
    local, _ = run(fileset, tmp_path / "local", IterativeExecutor)
    (file,) = fileset["signal"].files
    there = dataclasses.replace(file, path=f"{address}/{Path(file.path).name}")
    remote = {"signal": dataclasses.replace(fileset["signal"], files=(there,))}
    result, _ = run(remote, tmp_path / "remote", IterativeExecutor, verification="size")
    assert result.is_complete
    assert_same(result, local)


@pytest.mark.parametrize("server", ["root_url", "web_url"])
def test_a_remote_file_is_skimmed(server, tmp_path, request):
    url = request.getfixturevalue(server)
    arguments = ["skim", url, "--output", tmp_path, "--all", "--sqrt-s", "3.097", "--executor", "iterative"]
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert caught.value.code == 0
    with uproot.open(tmp_path / "skim_0.root") as file:
        assert file["Events"].num_entries == 10


@pytest.mark.parametrize("server", ["root_url", "web_url"])
def test_a_file_that_is_not_there_is_named(server, request):
    url = request.getfixturevalue(server).replace(".dst", "_absent.dst")
    with pytest.raises(NtupleError) as caught, open_dst(url):
        pass
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def skim_in_a_process(url, output, **environment):
    """`lnv skim` in a process of its own: client libraries read their settings when they are loaded."""
    arguments = ["skim", url, "--output", str(output), "--all", "--sqrt-s", "3.097", "--executor", "iterative"]
    return subprocess.run(
        [sys.executable, "-c", f"from jpsi_lnv.processors.cli import main; main({arguments!r})"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


def test_a_file_is_read_over_https_if_the_certificate_is_trusted(boss_file, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: make ci-packages")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with web_server(boss_file.parent, context) as port:
        url = f"https://127.0.0.1:{port}/data/{boss_file.name}"
        trusted = skim_in_a_process(url, tmp_path / "out", SSL_CERT_FILE=str(certificate))
        refused = skim_in_a_process(url, tmp_path / "none")
    assert trusted.returncode == 0, trusted.stderr
    with uproot.open(tmp_path / "out" / "skim_0.root") as file:
        assert file["Events"].num_entries == 10
    assert refused.returncode == 1
    assert "certificate" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_dead_xrootd_server_is_an_error_within_seconds(tmp_path):
    pytest.importorskip("fsspec_xrootd", reason="pip install 'jpsi-lnv[xrootd]'")
    url = f"root://127.0.0.1:{free_port()}//data/real.dst"
    started = time.monotonic()
    outcome = skim_in_a_process(url, tmp_path)
    assert outcome.returncode == 1
    assert url in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert time.monotonic() - started < 60


def test_the_baskets_of_a_chunk_are_asked_for_together(root_url, monkeypatch):
    """Vector reads: all baskets of a chunk come in one request, but for those that tell what else is needed."""
    from XRootD import client

    asked = {"read": 0, "vector_read": 0}
    for name in asked:
        original = getattr(client.File, name)

        def count(self, *args, name=name, original=original, **kwargs):
            asked[name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(client.File, name, count)
    with open_dst(root_url, tuple(schema.GROUPS)) as dst:
        opening = dict(asked)
        dst.read(0, 5, RUNS)
        assert len(dst._baskets) == 15
        first = {name: asked[name] - opening[name] for name in asked}
        dst.read(5, 10, RUNS)
    # The first run number says whether there is truth, the vertices whether the tracks' origin must be found.
    assert first["vector_read"] <= 3
    assert first["read"] <= 2
    assert asked == {name: opening[name] + first[name] for name in asked}

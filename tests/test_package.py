"""The distribution: what it installs, what `import jpsi_lnv` offers, and that no foreign `analysis` gets in its way."""

import ast
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import jpsi_lnv
from jpsi_lnv.analysis.provenance import source_digest

ROOT = Path(__file__).parents[1]
PROBE = "import jpsi_lnv; from jpsi_lnv.analysis.provenance import source_digest; print(jpsi_lnv.run, source_digest())"


def without_path():
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def output(python, *arguments, cwd):
    """Return what a command of another interpreter prints; it finds our package only where that is installed."""
    command = [str(python), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=without_path(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_of(site):
    return {p.name for p in site.iterdir() if p.suffix != ".dist-info" and p.name != "__pycache__"}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist, and the wheel that is built from its content rather than from the checkout."""
    directory = tmp_path_factory.mktemp("dist")
    output(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", directory, cwd=ROOT)
    (sdist,) = directory.glob("*.tar.gz")
    with tarfile.open(sdist) as stored:
        assert len(set(stored.getnames())) == len(stored.getnames())
        stored.extractall(directory, filter="data")
    unpacked = directory / sdist.name.removesuffix(".tar.gz")
    output(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory, cwd=unpacked)
    return directory


@pytest.fixture(scope="module")
def installed(distributions):
    """The interpreter of an environment into which the wheel was installed, and its site-packages.

    It sees our dependencies through a .pth file, whose directories are added without the .pth files that lie in them,
    so that an editable installation there is not found.
    """
    environment = distributions / "environment"
    output(sys.executable, "-m", "venv", "--without-pip", environment, cwd=distributions)
    python = environment / "bin" / "python"
    site = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=ROOT).strip())
    before = names_of(site)
    (wheel,) = distributions.glob("*.whl")
    output(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=distributions
    )
    added = names_of(site) - before
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, added


def test_the_wheel_adds_one_name_and_its_command_runs(installed, tmp_path):
    python, added = installed
    assert added == {"jpsi_lnv"}
    shown = output(python.with_name("lnv"), "--help", cwd=tmp_path)
    assert "fileset" in shown
    assert "limits" in shown


def test_wheel_and_checkout_hold_the_same_source(installed, tmp_path):
    assert output(installed[0], "-c", PROBE, cwd=tmp_path).split()[-1] == source_digest.__wrapped__()


def test_the_wheel_holds_data_types_and_nothing_else(distributions):
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as stored:
        names = stored.namelist()
    assert len(names) == len(set(names))
    assert "jpsi_lnv/py.typed" in names
    assert not [n for n in names if not n.startswith(("jpsi_lnv/", "jpsi_lnv-"))]


def test_an_editable_installation_copies_nothing(tmp_path):
    code = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    name = output(sys.executable, "-c", code, tmp_path, cwd=ROOT).split()[-1]
    with zipfile.ZipFile(tmp_path / name) as stored:
        assert [n for n in stored.namelist() if not n.startswith("jpsi_lnv-")] == ["_jpsi_lnv.pth"]


@pytest.fixture(params=["module", "package"])
def beside_foreign(request, tmp_path):
    """A working directory with another `analysis` and another `processors`."""
    for name in ("analysis", "processors"):
        if request.param == "module":
            (tmp_path / f"{name}.py").write_text("WHOSE = 'mine'\n")
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("WHOSE = 'mine'\n")
    return tmp_path


def test_a_script_keeps_its_own_analysis(installed, beside_foreign):
    script = beside_foreign / "script.py"
    script.write_text(f"import analysis\n{PROBE}\nimport processors\nprint(analysis.WHOSE, processors.WHOSE)\n")
    assert output(installed[0], script, cwd=beside_foreign).endswith("mine mine\n")


def test_a_notebook_keeps_its_own_analysis(beside_foreign, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(beside_foreign / "ipython"))
    cells = [PROBE, "import analysis, processors\nprint(analysis.WHOSE, processors.WHOSE)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    resources = {"metadata": {"path": str(beside_foreign)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute(env=dict(os.environ))
    assert notebook.cells[1].outputs[0]["text"] == "mine mine\n"


@pytest.mark.fast
def test_every_public_name_loads_and_type_checkers_know_it():
    blocks = (n for n in ast.parse(Path(jpsi_lnv.__file__).read_text()).body if isinstance(n, ast.If))
    (block,) = (n for n in blocks if ast.unparse(n.test) == "TYPE_CHECKING")
    imported = {a.asname or a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported | {"__version__"} == set(jpsi_lnv.__all__) <= set(dir(jpsi_lnv))
    assert all(getattr(jpsi_lnv, name) is not None for name in jpsi_lnv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nix'; it has"):
        jpsi_lnv.nix  # noqa: B018


@pytest.mark.fast
def test_importing_the_package_loads_nothing():
    code = "import sys, jpsi_lnv; print(*(m for m in sys.modules if m.startswith(('jpsi_lnv', 'numpy', 'coffea'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["jpsi_lnv"]


@pytest.mark.fast
@pytest.mark.parametrize("module", ["search", "work.dask_loop", "skimming"])
def test_what_workers_import_neither_draws_nor_fits(module):
    """It costs each of them memory and time: 100 MB and a second."""
    heavy = {"matplotlib", "mplhep", "fontTools", "pydantic", "scipy.stats", "scipy.interpolate", "particle"}
    code = f"import sys, jpsi_lnv.processors.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & {*done.stdout.split()} == set()

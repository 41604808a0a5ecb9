"""Every private name of another library that the package uses, what is assumed of it, and the version it was seen with.

A test per name says which assumption broke; the last one finds names that are not listed here.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import warnings
from importlib.metadata import version
from pathlib import Path

import hist
import numba
import numpy as np
import pytest
import uhi.io
import uproot

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[1]
# Name -> (distribution, version with which its test was last seen to pass, where it is used and what for).
PRIVATE = {
    "_CacheLocator": ("numba", "0.68.1", "arrays: how numba names the folder of a module's machine code"),
    "_cache": ("numba", "0.68.1", "arrays: in which folder a compiled function keeps it"),
    "_2byte": ("uproot", "5.7.7", "dst_baskets: the two letters by which a block names its compression"),
    "_to_uhi_": ("hist", "2.12.1", "results: a histogram as plain arrays"),
    "_form": ("coffea", "2026.9.0", "ntuple: fields and contents of the form, which a schema regroups"),
    "@events_factory": ("coffea", "2026.9.0", "ntuple: the file that events are read from"),
    "_cancel": ("distributed", "2026.8.0", "dask_loop: the coroutine of Client.cancel, to be waited for with patience"),
    "_run": ("distributed", "2026.8.0", "preflight: the coroutine of Client.run"),
    "_run_on_scheduler": ("distributed", "2026.8.0", "preflight: the coroutine of Client.run_on_scheduler"),
    "_register_worker_plugin": ("distributed", "2026.8.0", "preflight: the coroutine of Client.register_plugin"),
    "_drop_tables_default": ("fonttools", "4.68.0", "drawing: the tables of a font that the part of it in a PDF lacks"),
    "_correct_state": ("distributed", "2026.8.0", "clusters: waits until the batch system has taken the jobs"),
    "_created": ("distributed", "2026.8.0", "clusters: the jobs that were submitted, running or not"),
}
# Names of the standard library, and of numpy's kind: part of what they promise.
PROMISED = {"_asdict", "_replace", "_fields", "_make"}


def seen(name):
    """Return what to say when an assumption about a name does not hold."""
    library, with_version, use = PRIVATE[name]
    return f"{library} {version(library)}: {name} is no longer what {use}; last seen with {with_version}"


def test_numba_names_folders_and_keeps_the_place():
    from numba.core.caching import _CacheLocator

    folder = _CacheLocator.get_suitable_cache_subpath("/somewhere/package/module.py")
    assert isinstance(folder, str), seen("_CacheLocator")
    assert folder.startswith("package_"), seen("_CacheLocator")
    assert _CacheLocator.get_suitable_cache_subpath("/somewhere/package/other.py") == folder, seen("_CacheLocator")
    from jpsi_lnv.analysis import arrays

    assert Path(arrays.kernel_directory()).is_dir(), seen("_cache")
    assert hasattr(numba.njit(lambda: 1), "_cache"), seen("_cache")


def test_the_part_of_a_font_in_a_pdf_lacks_tables_by_default():
    from fontTools import subset

    default = subset.Options._drop_tables_default
    assert "DSIG" in default, seen("_drop_tables_default")
    assert subset.Options().drop_tables == default, seen("_drop_tables_default")
    from jpsi_lnv.analysis.report import drawing

    with drawing.style(), drawing._outlines():
        assert {"GPOS", "GSUB"} <= {*subset.Options().drop_tables}, seen("_drop_tables_default")
    assert subset.Options._drop_tables_default is default


def test_uproot_tells_compressions_by_two_letters():
    codes = {k._2byte for k in uproot.compression.algorithm_codes.values()}
    assert codes == {b"ZL", b"XZ", b"L4", b"ZS"}, seen("_2byte")


def test_a_histogram_becomes_plain_arrays_and_comes_back():
    filled = hist.Hist(hist.axis.Regular(3, 0, 1, name="x"), storage=hist.storage.Int64()).fill([0.1, 0.2])
    plain = filled._to_uhi_()
    assert plain["axes"][0]["type"] == "regular", seen("_to_uhi_")
    assert hist.Hist(uhi.io.from_sparse(uhi.io.to_sparse(plain))) == filled, seen("_to_uhi_")


def test_a_schema_has_fields_and_contents(tmp_path):
    from coffea.nanoevents import BaseSchema, NanoEventsFactory

    with uproot.recreate(tmp_path / "file.root") as file:
        file.mktree("Events", {"x": "float64"})
        file["Events"].extend({"x": np.ones(3)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factory = NanoEventsFactory.from_root(
            {str(tmp_path / "file.root"): "Events"}, schemaclass=BaseSchema, mode="virtual"
        )
        events = factory.events()
    form = BaseSchema({"fields": ["x"], "contents": [{}], "parameters": {}})._form
    assert (form["fields"], form["contents"]) == (["x"], [{}]), seen("_form")
    handle = events.attrs["@events_factory"].file_handle
    with uproot.open(tmp_path / "file.root") as opened:
        assert str(getattr(handle, "file", handle).uuid) == str(opened.file.uuid), seen("@events_factory")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_cancel", ["futures", "force"]),
        ("_run", ["function", "on_error"]),
        ("_run_on_scheduler", ["function"]),
        ("_register_worker_plugin", ["plugin", "name", "idempotent"]),
    ],
)
def test_the_client_of_dask_has_coroutines(name, parameters):
    from distributed import Client

    method = getattr(Client, name, None)
    assert asyncio.iscoroutinefunction(method), seen(name)
    assert set(parameters) <= set(inspect.signature(method).parameters), seen(name)


def test_a_cluster_of_jobs_waits_and_keeps_those_that_it_made():
    from distributed import SpecCluster

    assert callable(getattr(SpecCluster, "_correct_state", None)), seen("_correct_state")
    assert "self._created = " in inspect.getsource(SpecCluster.__init__), seen("_created")


def test_every_private_name_is_listed():
    trees = [ast.parse(path.read_text()) for room in ("analysis", "processors") for path in (ROOT / room).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.alias)}
    used |= {
        node.args[1].value
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and isinstance(node.args[1], ast.Constant)
    }
    private = (
        {name for name in used if name.startswith("_") and not name.startswith("__")} - (own - {*PRIVATE}) - PROMISED
    )
    assert private == {name for name in PRIVATE if name.startswith("_")}

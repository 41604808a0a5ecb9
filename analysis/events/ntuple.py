"""The ntuple as coffea sees it: a schema that groups branches into collections, and what a track can do.

``events.Track.r_xy``, ``events.Track.p4("K")``, ``events.Gen.children`` and so on are for notebooks and edges; the hot
path takes flat columns from `analysis.events.columns`.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from coffea.nanoevents import transforms
from coffea.nanoevents.methods import base, vector
from coffea.nanoevents.schemas.base import BaseSchema, listarray_form

from jpsi_lnv.analysis import kinematics
from jpsi_lnv.analysis.constants import SPECIES_MASS, Species
from jpsi_lnv.analysis.errors import SchemaError
from jpsi_lnv.analysis.events.columns import OWN
from jpsi_lnv.analysis.events.schema import COLLECTIONS, branch, missing_branches, required_branches

_RECORDS = {
    "Track": "BesTrack",
    "Shower": "BesShower",
    "Gen": "BesGen",
    "Tof": "NanoCollection",
    "V0": "NanoCollection",
}

behavior: dict[Any, Any] = {**base.behavior, **vector.behavior}


@ak.mixin_class(behavior)
class BesTrack(base.NanoCollection):
    """A charged track: helix about the origin, PID measurements, matched EMC cluster."""

    def at_event(self, scalar: str) -> ak.Array:
        """Return an event scalar for every track, such as ``ip_x`` in cm; works on sliced events too."""
        values = np.asarray(self._events()[scalar], dtype=np.float64)
        return _take(values, self.event_index)

    @property
    def cos_theta(self) -> ak.Array:
        """Cosine of the polar angle."""
        tanl = _float64(self.tanl)
        return tanl / np.hypot(1.0, tanl)

    @property
    def r_xy(self) -> ak.Array:
        """Distance of closest approach to the interaction point in xy, cm."""
        return np.abs(self._about_interaction_point()[0])

    @property
    def r_z(self) -> ak.Array:
        """Distance in z between the interaction point and the point of closest approach to it in xy, cm."""
        return np.abs(self._about_interaction_point()[2])

    @property
    def pt(self) -> ak.Array:
        """Momentum across the beams, GeV/c."""
        return 1.0 / np.abs(_float64(self.kappa))

    @property
    def p(self) -> ak.Array:
        """Magnitude of the momentum, GeV/c."""
        return self.pt * np.hypot(1.0, _float64(self.tanl))

    @property
    def phi(self) -> ak.Array:
        """Azimuth of the momentum at the interaction point, rad, from -pi to pi."""
        _, phi0, _ = self._about_interaction_point()
        return np.arctan2(np.cos(phi0), -np.sin(phi0))

    @property
    def theta(self) -> ak.Array:
        """Polar angle, rad."""
        return np.arccos(self.cos_theta)

    @property
    def e_over_p(self) -> ak.Array:
        """EMC energy over MDC momentum, in units of c."""
        return _float64(self.emc_energy) / self.p

    def p4(self, species: str) -> ak.Array:
        """Return Lorentz vectors in GeV at the interaction point as ``e``, ``mu``, ``pi``, ``K`` or ``p``.

        Files with helices per hypothesis give the species' own momentum.

        Raises:
            ValueError: No such species.
        """
        if species.upper() not in Species.__members__:
            msg = f"no species {species!r}; there are e, mu, pi, K and p"
            raise ValueError(msg)
        which = Species[species.upper()]
        _, phi0, _ = self._about_interaction_point()
        suffix = "" if which == Species.PI else f"_{which.name.lower()}"
        if f"kappa{suffix}" not in self.fields:
            suffix = ""
        px, py, pz = kinematics.momentum(phi0, _float64(self[f"kappa{suffix}"]), _float64(self[f"tanl{suffix}"]))
        energy = np.sqrt(px**2 + py**2 + pz**2 + SPECIES_MASS[which] ** 2)
        return ak.zip({"x": px, "y": py, "z": pz, "t": energy}, with_name="LorentzVector", behavior=self.behavior)

    def _about_interaction_point(self) -> tuple[ak.Array, ak.Array, ak.Array]:
        parameters = [_float64(self[name]) for name in ("dr", "phi0", "kappa", "dz", "tanl")]
        place = {axis: self.at_event(f"ip_{axis}") for axis in "xyz"}
        return kinematics.closest_approach(*parameters, **place, field=self.at_event("field"))


@ak.mixin_class(behavior)
class BesShower(base.NanoCollection):
    """A neutral cluster of the EMC."""

    @property
    def cos_theta(self) -> ak.Array:
        """Cosine of the polar angle seen from the origin."""
        x, y, z = _float64(self.x), _float64(self.y), _float64(self.z)
        return z / np.sqrt(x**2 + y**2 + z**2)

    @property
    def p4(self) -> ak.Array:
        """Lorentz vectors in GeV of a photon from the interaction point."""
        events, index = self._events(), self.event_index
        x, y, z = (_float64(self[a]) - _take(np.asarray(events[f"ip_{a}"], dtype=np.float64), index) for a in "xyz")
        energy = _float64(self.energy)
        scale = energy / np.sqrt(x**2 + y**2 + z**2)
        return ak.zip(
            {"x": x * scale, "y": y * scale, "z": z * scale, "t": energy},
            with_name="LorentzVector",
            behavior=self.behavior,
        )


@ak.mixin_class(behavior)
class BesGen(base.NanoCollection):
    """A generated particle."""

    @property
    def p4(self) -> ak.Array:
        """Lorentz vectors in GeV."""
        components = {"x": self.px, "y": self.py, "z": self.pz, "t": self.energy}
        components = {k: _float64(v) for k, v in components.items()}
        return ak.zip(components, with_name="LorentzVector", behavior=self.behavior)


def file_uuid(events: ak.Array) -> str:
    """Return the UUID of the ROOT file that coffea's events are read from."""
    handle = events.attrs["@events_factory"].file_handle
    return str(getattr(handle, "file", handle).uuid)


def _float64(array: ak.Array) -> ak.Array:
    return ak.values_astype(ak.without_parameters(array), np.float64)


def _take(values: np.ndarray, index: ak.Array) -> ak.Array:
    """Return ``values[index]`` for an index array of any depth."""

    def descend(layout: Any, **_: Any) -> Any:
        return ak.contents.NumpyArray(values[np.asarray(layout.data)]) if layout.is_numpy else None

    return ak.transform(descend, ak.materialize(ak.without_parameters(index)))


class BesSchema(BaseSchema):
    """Groups ``Track_*``, ``Shower_*`` and ``Gen_*`` into collections and checks that required branches exist."""

    __dask_capable__ = True

    def __init__(self, base_form: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 coffea's signature
        super().__init__(base_form)
        branches = dict(zip(self._form["fields"], self._form["contents"], strict=True))
        if missing := missing_branches(branches):
            msg = f"branch {missing[0]!r} is missing ({len(missing)} of {len(required_branches())} required ones are)"
            raise SchemaError(msg)
        there = [name for name in _RECORDS if f"n{name}" in branches and _branches_of(name, branches)]
        collections = {name: _collection_form(name, branches) for name in there}
        fields = collections | {c.name: branches[c.name] for c in COLLECTIONS[""] if c.name in branches}
        own = {b: branches[b] for name in collections for b in _branches_of(name, branches)}
        fields[OWN] = _record_form(own, OWN)
        self._form["fields"], self._form["contents"] = list(fields), list(fields.values())

    @classmethod
    def behavior(cls) -> dict[Any, Any]:
        """Return the behaviors of the collections."""
        return behavior


def _branches_of(name: str, branches: dict[str, Any]) -> dict[str, str]:
    """Return branch -> column of a collection, of those that are there."""
    return {b: c.name for c in COLLECTIONS[name] if (b := branch(name, c.name)) in branches}


def _collection_form(name: str, branches: dict[str, Any]) -> dict[str, Any]:
    """Return the form of one collection: its counter gives the offsets, its branches the record's fields."""
    columns = {column: branches[b] for b, column in _branches_of(name, branches).items()}
    contents = {column: form["content"] for column, form in columns.items()}
    first = next(iter(columns.values()))
    contents["event_index"] = {
        "class": "NumpyArray",
        "primitive": "int64",
        "itemsize": 8,
        "format": "q",
        "parameters": {},
        "form_key": first["form_key"] + ",!eventindex,!content",
    }
    record = _record_form(contents, name, __record__=_RECORDS[name])
    return listarray_form(record, transforms.counts2offsets_form(branches[f"n{name}"]))


def _record_form(contents: dict[str, Any], name: str, **parameters: str) -> dict[str, Any]:
    return {
        "class": "RecordArray",
        "fields": list(contents),
        "contents": list(contents.values()),
        "form_key": None,
        "parameters": {**parameters, "collection_name": name},
    }

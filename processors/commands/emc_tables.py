"""Make the calorimeter tables of the particle identification from control samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from analysis.objects.emc_tables import ControlTracks

BRANCHES: Final = (
    *(f"Track_{n}" for n in ("kappa", "tanl", "emc_energy", "emc_e3x3", "emc_e5x5", "gen")),
    "Gen_pdg_id",
)
ELECTRON, PION = 11, 211


@click.command("emc-tables")
@click.option("--electrons", required=True, multiple=True, help="Simulated ntuple with electrons; repeatable.")
@click.option("--pions", required=True, multiple=True, help="Simulated ntuple with charged pions; repeatable.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("emc_pid.json"), help="File to write.")
def command(electrons: Sequence[str], pions: Sequence[str], output: Path) -> None:
    """Make the calorimeter tables of the particle identification from control samples.

    The tracks are taken by their generated particle, so the ntuples must be simulated ones with `Gen`.
    """
    from analysis.objects.emc_pid import to_json  # noqa: PLC0415 - keeps `lnv --help` fast
    from analysis.objects.emc_tables import build  # noqa: PLC0415

    samples = [read_tracks(electrons, ELECTRON), read_tracks(pions, PION)]
    made_from = {
        kind: {"files": [Path(f).name for f in files], "tracks": len(sample.p)}
        for kind, files, sample in zip(("e", "pi"), (electrons, pions), samples, strict=True)
    }
    output.write_text(json.dumps(to_json(build(*samples), made_from)) + "\n")
    click.echo(f"{output}: tables of {len(samples[0].p):,} electrons and {len(samples[1].p):,} pions")


def read_tracks(files: Sequence[str], pdg_id: int) -> ControlTracks:
    """Return the tracks in simulated ntuples that were made by particles of one kind, of either charge.

    Raises:
        SchemaError: An ntuple has no generated particles.
    """
    import awkward as ak  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    import uproot  # noqa: PLC0415

    from analysis.errors import SchemaError  # noqa: PLC0415
    from analysis.events.schema import TREE  # noqa: PLC0415
    from analysis.objects.emc_tables import ControlTracks  # noqa: PLC0415
    from analysis.objects.tracks import cos_theta, momentum  # noqa: PLC0415

    parts = []
    for file in files:
        with uproot.open({file: TREE}) as tree:
            missing = [name for name in BRANCHES if name not in tree]
            if missing:
                msg = f"{file}: got an ntuple without {', '.join(missing)}, wanted a simulated one"
                raise SchemaError(msg)
            events = tree.arrays(BRANCHES)
        has_particle = events["Track_gen"] >= 0
        code = events["Gen_pdg_id"][ak.where(has_particle, events["Track_gen"], 0)]
        chosen = has_particle & (abs(code) == pdg_id)
        kappa, tanl, energy, e3x3, e5x5 = (
            ak.to_numpy(ak.flatten(events[name][chosen])).astype(np.float64) for name in BRANCHES[:5]
        )
        p = momentum(kappa, tanl)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(ControlTracks(p, cos_theta(tanl), energy / p, e3x3 / e5x5))
    return ControlTracks(*(np.concatenate(values) for values in zip(*parts, strict=True)))

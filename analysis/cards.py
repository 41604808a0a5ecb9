"""Channel cards: the decay that is searched for, and the requirements it is searched with, as a TOML file.

::

    name = "jpsi_pipiee"
    parent = "J/psi(1S)"
    final_state = ["pi+", "pi+", "e-", "e-"]
    alternatives = [["pi+", "pi-", "pi+", "pi-"], ["K+", "K-", "pi+", "pi-"]]

    [cuts]
    chi2_4c_max = 25.0

and for a decay with a pi0, its mass a constraint of the fit::

    final_state = ["K+", "K-", "gamma", "gamma"]
    [[intermediates]]
    of = "pi0"
    particles = ["gamma1", "gamma2"]
    window = [0.115, 0.150]

What a card leaves out is the publication's. The decay stands among the requirements (`analysis.cuts`), so that whatever
depends on these, the box of blind data and stored parts of a run, is of one decay.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import MinLen

from jpsi_lnv.analysis.constraints import Intermediate
from jpsi_lnv.analysis.cuts import SELECTION, Cuts, changed
from jpsi_lnv.analysis.documents import Form, digest, from_toml
from jpsi_lnv.analysis.errors import LnvError

SHIPPED: Final = Path(__file__).parent / "channels"
DEFAULT: Final = "jpsi_kkee"


class CardError(LnvError):
    """A channel card cannot be used."""


Particles = Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class _Intermediate:
    """What a card holds of one intermediate particle."""

    of: Annotated[str, MinLen(1)]
    particles: Annotated[tuple[str, ...], MinLen(2)]
    window: tuple[float, float]
    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What a card holds."""

    name: Annotated[str, MinLen(1)]
    parent: Literal["J/psi(1S)"]
    final_state: Particles
    alternatives: tuple[Particles, ...] = ()
    intermediates: tuple[_Intermediate, ...] = ()
    missing: str = ""
    cuts: dict[str, bool | int | float | str] = field(default_factory=dict)
    __pydantic_config__: ClassVar = {"extra": "forbid"}


_FORM: Final = Form(
    "channel card",
    f"a card has {', '.join(f.name for f in fields(_Content))} (docs/howto_channels.md)",
    CardError,
    content=_Content,
    loads=from_toml,
)


@dataclass(frozen=True)
class Card:
    """A channel.

    Attributes:
        name: Its name.
        digest: Of the file.
        cuts: The requirements, the decay among them.
        own: Those that the file gives other values than the publication's, by name.
    """

    name: str
    digest: str
    cuts: Cuts
    own: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"name": self.name, "digest": self.digest, "cuts": self.own}


def names() -> list[str]:
    """Return the cards of the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(card: str | Path = DEFAULT) -> Card:
    """Return a card.

    Args:
        card: Name of a card of the package, or a file.

    Raises:
        CardError: There is none, it has other keys or values, or no such decay can be searched for.
    """
    path = SHIPPED / f"{card}.toml" if str(card) in names() else Path(card)
    if not path.is_file():
        msg = f"no channel card {str(card)!r}: wanted a file, or one of {', '.join(names())}"
        raise CardError(msg)
    content: _Content = _FORM.read(path)
    cuts = _cuts(content, path)
    publication = asdict(SELECTION)
    own = {name: value for name, value in asdict(cuts).items() if value != publication[name]}
    return Card(content.name, digest(path.read_bytes()), cuts, own)


def _cuts(content: _Content, path: Path) -> Cuts:
    """Return the requirements of a card."""
    decay = {
        "final_state": " ".join(content.final_state),
        "alternatives": ", ".join(map(" ".join, content.alternatives)),
        "intermediates": ", ".join(str(Intermediate(m.of, m.particles, m.window)) for m in content.intermediates),
        "missing": content.missing,
    }
    if named := sorted(decay.keys() & content.cuts.keys()):
        raise _FORM.fault(path, f"cuts.{named[0]} is given; wanted it as {named[0]} at the top")
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in content.cuts.items()}
    settings = [f"{name}={value}" for name, value in (decay | values).items()]
    try:
        return changed(SELECTION, settings)
    except ValueError as error:
        raise _FORM.fault(path, str(error)) from None

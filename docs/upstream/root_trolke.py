"""ROOT: TRolke divides twice by a known efficiency where no event is seen; run by a Python that has ROOT."""

import ROOT


def upper(n, efficiency):
    rolke = ROOT.TRolke(0.90)
    rolke.SetPoissonBkgKnownEff(n, 0, 2.0, efficiency)
    return rolke.GetUpperLimit()


for n in (0, 1):
    print(f"{n} events: got a ratio of {upper(n, 0.25) / upper(n, 1.0):.3f}; wanted 4.000")

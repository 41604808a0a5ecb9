"""ROOT: TRolke holds the background of an empty side band at zero below the best fit; run by a Python with ROOT.

-2 ln L at a yield mu, minimised by hand over background b and efficiency e, is the definition of the interval.
"""

import math

import ROOT

N, TAU, EFFICIENCY, SIGMA = 2, 1.0, 0.1583, 0.0110810


def cost(mu):
    """Return the smallest -2 ln L + constant over a fine grid of b >= 0 and e."""
    grid = ((b * 0.01, EFFICIENCY + k * 0.05 * SIGMA) for b in range(300) for k in range(-80, 81))
    of = ((mu * e + b, b, e) for b, e in grid if mu * e + b > 0)
    return min(2 * (x - N * math.log(x)) + 2 * TAU * b + ((e - EFFICIENCY) / SIGMA) ** 2 for x, b, e in of)


rolke = ROOT.TRolke(0.90)
rolke.SetPoissonBkgGaussEff(N, 0, EFFICIENCY, TAU, SIGMA)
lower, smallest = rolke.GetLowerLimit(), cost(N / EFFICIENCY)
print(f"got a lower end of {lower:.3f}, where -2 ln lambda is {cost(lower) - smallest:.2f}; wanted 2.71 there")

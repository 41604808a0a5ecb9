"""pybes3: `change_pivot` turns tracks of both charges the same way; in a field they turn opposite ways."""

import math

import pybes3

turns = []
for kappa in (1.0, -1.0):  # 1 GeV/c along y from the origin, the new pivot 10 cm ahead
    helix = pybes3.helix_obj(dr=0.0, phi0=0.0, kappa=kappa, dz=0.0, tanl=0.0)
    phi0 = helix.change_pivot(0.0, 10.0, 0.0).phi0
    turns.append((phi0 + math.pi) % (2 * math.pi) - math.pi)
print(f"got turns of {turns[0]:+.4f} and {turns[1]:+.4f} rad; wanted opposite ones, of 0.03 rad")

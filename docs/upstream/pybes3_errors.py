"""pybes3: error matrices of MDC tracks come in another order than BOSS wrote them; wants a `.dst` file's name."""

import sys

import numpy as np
import pybes3  # registers BOSS's classes
import uproot

error = uproot.open(sys.argv[1])["Event/TDstEvent/m_mdcTrackCol"].array()["m_err"]
error = np.concatenate([np.asarray(of_event).reshape(-1, 5, 5) for of_event in error])
# BOSS wrote the 15 elements of the upper triangle, row by row; they are taken for those of the lower one.
packed = error[:, *np.tril_indices(5)]
mended = np.zeros_like(error)
mended[:, *np.triu_indices(5)] = packed
mended += np.swapaxes(np.triu(mended, 1), 1, 2)
got, wanted = (int((np.linalg.eigvalsh(m) > 0).all(axis=1).sum()) for m in (error, mended))
print(f"got {got} of {len(error)} matrices positive definite; wanted {wanted}, as with the elements as upper triangle")

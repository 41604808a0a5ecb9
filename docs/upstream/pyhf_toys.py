"""pyhf: `hypotest(calctype="toybased")` fails with numpy 2.4."""

import warnings

import pyhf

warnings.simplefilter("ignore")
pyhf.set_backend("numpy")
model = pyhf.simplemodels.uncorrelated_background(signal=[5.0], bkg=[10.0], bkg_uncertainty=[1.0])
data = [10.0, *model.config.auxdata]
try:
    found = pyhf.infer.hypotest(1.0, data, model, calctype="toybased", ntoys=100, track_progress=False)
    got = f"a number: {0.0 <= float(found) <= 1.0}"
except TypeError as error:
    got = f"TypeError: {error}"
print(f"got {got}; wanted a number: True")

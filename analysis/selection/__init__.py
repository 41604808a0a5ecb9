"""The publication's selection as named steps, with cut flow, conversion veto and blinding."""

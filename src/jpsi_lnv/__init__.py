"""The search for J/psi -> K+ K+ e- e- + c.c. at BESIII: what a script or notebook needs, loaded at its first use.

The physics and statistics are in `jpsi_lnv.analysis`, the processor, runs and clusters in `jpsi_lnv.processors`.
"""

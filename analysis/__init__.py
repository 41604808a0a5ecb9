"""Physics and statistics of the search for J/psi -> K+ K+ e- e- + c.c.

This package knows arrays, histograms and numbers; clusters and executors live in `processors`.
"""

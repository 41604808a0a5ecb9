"""Systematic uncertainties, one function per source."""

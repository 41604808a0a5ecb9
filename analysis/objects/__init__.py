"""Tracks, particle identification, electrons, kaons and photons."""

"""Clusters: how they are made or reached, given our source, and looked at before a run."""

"""Coffea processors, executors, clusters and the book-keeping of a run."""

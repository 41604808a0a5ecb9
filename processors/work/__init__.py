"""How chunks are worked on: guard, groups, executors, the loop of a dask run. Knows no physics."""

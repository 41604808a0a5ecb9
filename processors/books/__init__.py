"""The books of a run: what is to be done, what was done, what is missing, and what is kept."""

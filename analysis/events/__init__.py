"""The ntuple: its column table, its readers and its writer-side rules."""

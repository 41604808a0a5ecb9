"""Upper limits on the signal yield and the branching fraction."""

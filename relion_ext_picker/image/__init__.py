"""Arrays to arrays: rescaling, normalising, peaks."""

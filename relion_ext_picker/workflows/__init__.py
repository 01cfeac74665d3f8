"""One module per command; they compose the rest."""

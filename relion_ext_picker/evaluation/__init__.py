"""Scores of picks against the truth."""

"""Micrographs whose particles are known."""

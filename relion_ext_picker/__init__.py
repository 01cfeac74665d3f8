"""Particle picking for single-particle cryo-EM, as a RELION External job, in Scipion and headless."""

__version__ = "0.1.0"

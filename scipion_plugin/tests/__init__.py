"""Tests of the plugin: by pytest, and by ``python -m scipion tests``."""

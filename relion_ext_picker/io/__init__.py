"""Files in and out: micrographs, coordinates, model files."""

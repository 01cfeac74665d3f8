"""The modes: each turns a micrograph into candidates and scores."""

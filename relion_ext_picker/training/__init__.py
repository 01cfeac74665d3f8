"""Targets, augmentation and the training loop."""

"""What RELION says downstream about the particles: labels, a threshold and a verdict for the next round of picking."""

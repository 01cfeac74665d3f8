"""DeepCryoPicker: clustering finds examples without labels, a network learns from them (Al-Azzawi et al. 2020)."""

"""DeepEM: one network that judges windows, trained on picks (Zhu et al. 2017)."""

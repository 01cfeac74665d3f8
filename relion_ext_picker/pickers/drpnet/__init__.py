"""DRPnet: a regression network finds centres, a second network rejects false ones (Nguyen et al. 2021)."""

"""Traffic that other programs saw (Hubble, Calico, NPM), as recordings."""

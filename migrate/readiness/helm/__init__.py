"""Helm values for a Cilium of the user, from the data plane that the cluster has."""

"""Policies of other engines to Cilium's, with a result and findings for every source object."""

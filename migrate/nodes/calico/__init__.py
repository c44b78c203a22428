"""Calico on a Linux node: what Felix should have written there, what is there, and what is left behind."""

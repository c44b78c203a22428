"""Watches a cluster through agents on its nodes: deploys them, reads them through the API server, takes them away."""

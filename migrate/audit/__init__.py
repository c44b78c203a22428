"""The probe beside the old engine: what it loads, what it keeps, and what Cilium would do with it."""

"""After the cutover: what Cilium does, compared with what was predicted."""

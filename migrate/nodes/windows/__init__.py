"""Windows nodes: what Azure NPM programmed into the Host Networking Service, compared with what it should have."""

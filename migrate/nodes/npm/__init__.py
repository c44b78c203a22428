"""Azure NPM on a Linux node: what it should have programmed, and what is there."""

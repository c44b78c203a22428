"""The engine: what each truth says of a flow, and where two of them differ."""

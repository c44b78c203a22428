"""Plain, slow evaluators of policies, written apart from the program so that they can judge it."""

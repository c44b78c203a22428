"""The vocabulary that every stage shares: pure, frozen values without I/O, clock or randomness."""

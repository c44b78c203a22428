"""A translation proved on its own output: the written files are read back and compared with the policies' text."""

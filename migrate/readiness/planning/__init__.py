"""The cutover plan of a cluster: its steps, what is open meanwhile, the way back, and the files that it names."""

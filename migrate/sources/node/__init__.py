"""What programs on a node print of its state → typed values with their lines."""

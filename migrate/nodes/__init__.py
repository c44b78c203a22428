"""What nodes really enforce: their dumps read, and compared with what the objects of the cluster say."""

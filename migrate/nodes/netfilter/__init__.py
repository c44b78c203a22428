"""What the rules of a node's packet filter do with a packet, as the kernel would go through them."""

"""Names and addresses of a cluster replaced by pseudonyms that only the holder of a key can link to them."""

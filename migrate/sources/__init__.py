"""Raw objects to typed values: what each engine's policy language means stands here, once."""

"""Knowledge about findings and deadlines, and the verdict over what was read."""

"""What runs in a pod on each node: records, keeps timelines of pods and Services, and answers who asks."""

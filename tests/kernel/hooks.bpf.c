/* Programs that let everything pass, for hooks that a node's dump lists. */
__attribute__((section("xdp"), used)) int passes_frames(void *context)
{
	(void)context;
	return 2; /* XDP_PASS */
}

__attribute__((section("cgroup/connect4"), used)) int passes_connects(void *context)
{
	(void)context;
	return 1;
}

__attribute__((section("tc"), used)) int passes_packets(void *context)
{
	(void)context;
	return -1; /* TC_ACT_UNSPEC */
}

char LICENSE[] __attribute__((section("license"), used)) = "GPL v2";

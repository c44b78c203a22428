/* Programs of others at the same hooks: one ends the chain, one has no opinion. */
struct __sk_buff;

__attribute__((section("tc"), used)) int foreign_ends(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

__attribute__((section("tc"), used)) int foreign_passes(struct __sk_buff *skb)
{
	(void)skb;
	return -1;
}

char LICENSE[] __attribute__((section("license"), used)) = "GPL v2";

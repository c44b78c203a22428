/* Counts the new flows of pods, at both directions of their host-side veth. */
#include "compat.h"
#include "probe.h"
#include "parse.h"
#include "core.h"

PROGRAM("tc") int from_pod(struct __sk_buff *skb)
{
	return probe(skb, FROM_POD);
}

PROGRAM("tc") int to_pod(struct __sk_buff *skb)
{
	return probe(skb, TO_POD);
}

/* What the programs of several objects share: the loader gives all of them the same maps. */
#ifndef MIG_SHARED_H
#define MIG_SHARED_H

LRU(connections, struct connection_key, struct connection, 131072);
PER_CPU(stats, u64, COUNTERS);
ARRAY(ctl, u64, CONTROLS);

static __always_inline u64 count(u32 counter)
{
	u64 *value = LOOKUP(stats, &counter);

	return value ? ++*value : 0;
}

static __always_inline u64 control(u32 entry)
{
	u64 *value = LOOKUP(ctl, &entry);

	return value ? *value : 0;
}

/* Any order of addresses will do. */
static __always_inline int source_is_low(struct packet *packet)
{
	u64 source[2], destination[2];

	__builtin_memcpy(source, packet->source, 16);
	__builtin_memcpy(destination, packet->destination, 16);
	if (source[1] != destination[1])
		return source[1] < destination[1];
	if (source[0] != destination[0])
		return source[0] < destination[0];
	return packet->source_port <= packet->port;
}

static __always_inline void connection_of(u32 ifindex, struct packet *packet, int from_low,
					  struct connection_key *key)
{
	u8 *source = from_low ? key->low : key->high;
	u8 *destination = from_low ? key->high : key->low;
	int icmp = packet->protocol == PROTOCOL_ICMP || packet->protocol == PROTOCOL_ICMPV6;

	__builtin_memcpy(source, packet->source, 16);
	__builtin_memcpy(destination, packet->destination, 16);
	key->ifindex = ifindex;
	key->protocol = packet->protocol;
	key->low_port = from_low || icmp ? packet->source_port : packet->port;
	key->high_port = from_low || icmp ? packet->port : packet->source_port;
}

#endif

/* What is recorded. Nothing here changes, drops or redirects a packet. */
#ifndef MIG_CORE_H
#define MIG_CORE_H

#include "frame.h"
#include "shared.h"

/* TC_ACT_UNSPEC and TCX_NEXT: programs after this one still decide. */
#define NO_OPINION	(-1)

#define SECOND		1000000000ULL
/* How long Cilium keeps an idle connection, so that a silence ends a flow here as it would there. */
#define TCP_IDLE	(21600 * SECOND)
#define OTHER_IDLE	(60 * SECOND)
/* The longest pause of a SYN that is sent again is 64 s. */
#define SYN_IDLE	(75 * SECOND)

#define NO_SAMPLING	(~0ULL)

/* Two tables in turn: programs write one while user space empties the other. Sizes are the loader's. */
HASH(flows0, struct flow_key, struct flow_value, 65536);
HASH(flows1, struct flow_key, struct flow_value, 65536);
HASH(coarse, struct flow_key, struct flow_value, 8192);

enum change { OPENED, ANSWERED, REFUSED, SENT_AGAIN };

static __always_inline struct flow_value *find_flow(u32 table, struct flow_key *key)
{
	if (table)
		return LOOKUP(flows1, key);
	return LOOKUP(flows0, key);
}

static __always_inline int insert_flow(u32 table, struct flow_key *key, struct flow_value *value)
{
	if (table)
		return INSERT(flows1, key, value);
	return INSERT(flows0, key, value);
}

static __always_inline void change_flow(struct flow_value *value, struct flow_value *by, int change)
{
	__sync_fetch_and_add(&value->octets, by->octets);
	if (change == OPENED) {
		__sync_fetch_and_add(&value->events, 1);
		value->source_port = by->source_port;
	} else if (change == ANSWERED) {
		__sync_fetch_and_add(&value->answered, 1);
	} else if (change == REFUSED) {
		__sync_fetch_and_add(&value->refused, 1);
	} else {
		__sync_fetch_and_add(&value->retransmitted, 1);
	}
	value->last = by->last;
}

/* Cuts an address to /16 (IPv6: /32). */
static __always_inline void cut_address(u8 *address)
{
	u32 words[4];

	__builtin_memcpy(words, address, 16);
	if (!words[0] && !words[1] && !address[8] && !address[9] && address[10] == 0xff) {
		address[14] = address[15] = 0;
		return;
	}
	words[1] = words[2] = words[3] = 0;
	__builtin_memcpy(address, words, 16);
}

/* Never hides a gap: what has no row of its own gets a coarser one, and what has none is counted. */
static __always_inline void note_coarse(struct flow_key *key, struct flow_value *by, int change)
{
	struct flow_value *value;

	count(FULL);
	if (key->kind & TO_POD)
		cut_address(key->source);
	else
		cut_address(key->destination);
	key->port = 0;
	key->kind |= COARSE_FLAG;
	value = LOOKUP(coarse, key);
	if (value) {
		change_flow(value, by, change);
	} else if (INSERT(coarse, key, by)) {
		value = LOOKUP(coarse, key);
		if (!value) {
			count(change == OPENED ? LOST : REPLY_LOST);
			return;
		}
		change_flow(value, by, change);
	}
	if (change == OPENED)
		count(COARSE);
}

static __always_inline void note(struct __sk_buff *skb, struct flow_key *key, u16 source_port,
				 u64 now, int change)
{
	u32 table = control(ACTIVE) & 1;
	struct flow_value by = {
		.first = now,
		.last = now,
		.events = change == OPENED,
		.octets = skb->len,
		.answered = change == ANSWERED,
		.refused = change == REFUSED,
		.source_port = source_port,
		.retransmitted = change == SENT_AGAIN,
	};
	struct flow_value *value;

	count(change == OPENED ? NEW : change == SENT_AGAIN ? RETRANSMITTED : REPLY);
	value = find_flow(table, key);
	if (!value) {
		if (!insert_flow(table, key, &by)) {
			count(CREATED);
			return;
		}
		value = find_flow(table, key);	/* another CPU may have been first */
	}
	if (value)
		change_flow(value, &by, change);
	else
		note_coarse(key, &by, change);
}

#ifndef note_translation
#define note_translation(skb, packet, key)	do { } while (0)
#endif

static __always_inline void note_forward(struct __sk_buff *skb, struct packet *packet,
					 u8 direction, u8 kind, u64 now, int change)
{
	struct flow_key key = {
		.ifindex = skb->ifindex,
		.port = packet->port,
		.protocol = packet->protocol,
		.kind = direction | kind << 1,
	};

	__builtin_memcpy(key.source, packet->source, 16);
	__builtin_memcpy(key.destination, packet->destination, 16);
	if (direction == TO_POD && kind == NEW_FLOW && change == OPENED)
		note_translation(skb, packet, &key);
	note(skb, &key, packet->source_port, now, change);
}

/* A reply belongs to the flow of the other direction, in the table of now. */
static __always_inline void note_reply(struct __sk_buff *skb, struct packet *packet, u8 direction,
				       u64 now, int change)
{
	int icmp = packet->protocol == PROTOCOL_ICMP || packet->protocol == PROTOCOL_ICMPV6;
	struct flow_key key = {
		.ifindex = skb->ifindex,
		.port = icmp ? packet->port : packet->source_port,
		.protocol = packet->protocol,
		.kind = (direction ^ 1) | NEW_FLOW << 1,
	};

	__builtin_memcpy(key.source, packet->destination, 16);
	__builtin_memcpy(key.destination, packet->source, 16);
	if (direction == TO_POD && change == ANSWERED)
		note_translation(skb, packet, &key);
	note(skb, &key, icmp ? packet->source_port : packet->port, now, change);
}

static __always_inline void begin_connection(struct connection *known, struct connection_key *key,
					     struct connection *fresh)
{
	if (known)
		*known = *fresh;
	else if (UPDATE(connections, key, fresh))
		count(CONNECTION_FAILED);
	else
		count(CONNECTION_CREATED);
}

/* Writes at most once a second, so that CPUs do not fight for the line. */
static __always_inline void keep_connection(struct connection *known, u64 now)
{
	if (now - known->last > SECOND)
		known->last = now;
}

static __always_inline void record_syn(struct __sk_buff *skb, struct packet *packet, u8 direction,
				       u64 now)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection fresh = { .last = now, .low_began = from_low, .opened = 1 };
	struct connection *known;

	connection_of(skb->ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	if (known && known->opened && !known->answered && !known->refused &&
	    known->low_began == from_low && now - known->last <= SYN_IDLE) {
		known->last = now;
		note_forward(skb, packet, direction, NEW_FLOW, now, SENT_AGAIN);
		return;
	}
	begin_connection(known, &key, &fresh);
	note_forward(skb, packet, direction, NEW_FLOW, now, OPENED);
}

static __always_inline void record_syn_ack(struct __sk_buff *skb, struct packet *packet,
					   u8 direction, u64 now)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection fresh = {
		.last = now, .low_began = !from_low, .opened = 1, .answered = 1
	};
	struct connection *known;

	connection_of(skb->ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	if (known && known->answered)
		return;
	begin_connection(known, &key, &fresh);
	note_reply(skb, packet, direction, now, ANSWERED);
}

/* Only the answer to a SYN is a refusal; a reset of an established connection is not. */
static __always_inline void record_reset(struct __sk_buff *skb, struct packet *packet, u8 direction,
					 u64 now)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection *known;

	connection_of(skb->ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	if (!known || !known->opened || known->answered || known->refused ||
	    known->low_began == from_low)
		return;
	known->refused = 1;
	note_reply(skb, packet, direction, now, REFUSED);
}

static __always_inline void record_segment(struct __sk_buff *skb, struct packet *packet,
					   u8 direction, u64 now)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection fresh = { .last = now, .low_began = from_low };
	struct connection *known;

	connection_of(skb->ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	if (known && now - known->last <= TCP_IDLE) {
		keep_connection(known, now);
		return;
	}
	if (known)
		count(CONNECTION_EXPIRED);
	begin_connection(known, &key, &fresh);
	note_forward(skb, packet, direction, MID_STREAM, now, OPENED);
}

static __always_inline void record_other(struct __sk_buff *skb, struct packet *packet, u8 direction,
					 u64 now)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection fresh = { .last = now, .low_began = from_low };
	struct connection *known;

	connection_of(skb->ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	if (!known || now - known->last > OTHER_IDLE) {
		if (known)
			count(CONNECTION_EXPIRED);
		begin_connection(known, &key, &fresh);
		note_forward(skb, packet, direction, NEW_FLOW, now, OPENED);
		return;
	}
	keep_connection(known, now);
	if (known->low_began != from_low && !known->answered) {
		known->answered = 1;
		note_reply(skb, packet, direction, now, ANSWERED);
	}
}

/* One of each (mask + 1) packets of this CPU, at uneven distances: a strict rhythm could miss one way. */
static __always_inline int is_sampled(u64 packets)
{
	u64 mask = control(SAMPLING);

	return mask != NO_SAMPLING && !((u32)packets * 2654435761U >> 12 & mask);
}

static __always_inline void record_tcp(struct __sk_buff *skb, struct packet *packet, u8 direction,
				       u64 now, u64 packets)
{
	u8 flags = packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST);

	if (flags == TCP_SYN)
		record_syn(skb, packet, direction, now);
	else if (flags == (TCP_SYN | TCP_ACK))
		record_syn_ack(skb, packet, direction, now);
	else if (flags & TCP_RST)
		record_reset(skb, packet, direction, now);
	else if (is_sampled(packets))
		record_segment(skb, packet, direction, now);
}

static __always_inline void record(struct __sk_buff *skb, u8 direction, u64 packets)
{
	struct packet packet = {};
	u64 now = bpf_ktime_get_ns();
	int result;

	if (now > control(DEADLINE)) {
		count(AFTER_DEADLINE);
		return;
	}
	result = read_packet(skb, &packet);
	if (result != PARSED)
		count(result == TOO_SHORT ? SHORT : NOT_IP);
	else if (packet.later_fragment)
		count(LATER_FRAGMENT);
	else if (packet.protocol == PROTOCOL_TCP)
		record_tcp(skb, &packet, direction, now, packets);
	else if (packet.icmp_error)
		note_forward(skb, &packet, direction, ICMP_ERROR, now, OPENED);
	else
		record_other(skb, &packet, direction, now);
}

static __always_inline int probe(struct __sk_buff *skb, u8 direction)
{
	u64 packets = count(PACKETS);

	if (!is_established_tcp(skb) || is_sampled(packets))
		record(skb, direction, packets);
	return NO_OPINION;
}

#endif

/* Counts what netfilter drops of watched pods today, by flow. */
#include "compat.h"
#include "probe.h"

#define SOURCE	const u8
#define READ(from, offset, to, length)	bpf_probe_read_kernel(to, length, (from) + (offset))
#include "parse.h"
#include "shared.h"

/* The fields that are read of the kernel's own structs; their places come from its BTF. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	u16 protocol;
	u16 network_header;
	unsigned char *head;
	int skb_iif;
	unsigned long _skb_refdst;
};
#pragma clang attribute pop

#define FIELD(from, name)							\
	({									\
		typeof((from)->name) value_ = 0;				\
		bpf_probe_read_kernel(&value_, sizeof(value_), &(from)->name);	\
		value_;								\
	})

enum wanted { REASON, PLACE_BEGIN, PLACE_END, NAMESPACE, WANTED };

/* Which drops count: the number of netfilter's reason, or the place in the kernel's text; in which network namespace. */
ARRAY(drop_ctl, u64, WANTED);
HASH(watched, u32, u32, 4096);
HASH(drops, struct flow_key, struct flow_value, 8192);

static __always_inline u64 wanted(u32 entry)
{
	u64 *value = LOOKUP(drop_ctl, &entry);

	return value ? *value : 0;
}

static __always_inline struct net_device *outgoing(struct sk_buff *skb)
{
	struct dst_entry *route = (void *)(FIELD(skb, _skb_refdst) & ~7UL);

	return route ? FIELD(route, dev) : 0;
}

/* Interfaces have numbers of their own in each network namespace, and the tracepoint sees the drops of all. */
static __always_inline int is_of_node(struct net_device *device)
{
	struct net *owner = device ? FIELD(device, nd_net.net) : 0;

	return owner && FIELD(owner, ns.inum) == wanted(NAMESPACE);
}

/* The tc program saw the packet, or one of its connection, before netfilter did. */
static __always_inline int is_reply(u32 ifindex, struct packet *packet)
{
	struct connection_key key = {};
	int from_low = source_is_low(packet);
	struct connection *known;

	if (packet->protocol == PROTOCOL_TCP)
		return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN;
	connection_of(ifindex, packet, from_low, &key);
	known = LOOKUP(connections, &key);
	return known && known->low_began != from_low;
}

static __always_inline void add_drop(struct flow_key *key, u16 source_port, u32 length)
{
	u64 now = bpf_ktime_get_ns();
	struct flow_value fresh = {
		.first = now, .last = now, .events = 1, .octets = length, .source_port = source_port
	};
	struct flow_value *known = LOOKUP(drops, key);

	if (!known) {
		if (!INSERT(drops, key, &fresh))
			return;
		known = LOOKUP(drops, key);
		if (!known) {
			count(DROP_LOST);
			return;
		}
	}
	__sync_fetch_and_add(&known->events, 1);
	__sync_fetch_and_add(&known->octets, length);
	known->last = now;
	known->source_port = source_port;
}

static __always_inline int note_drop(struct sk_buff *skb)
{
	struct packet packet = {};
	struct flow_key key = {};
	struct net_device *device = FIELD(skb, dev), *out = outgoing(skb);
	u32 ifindex = FIELD(skb, skb_iif);
	u8 direction = FROM_POD;
	u16 type = FIELD(skb, protocol);

	if (!is_of_node(device ? device : out))
		return 0;
	if (!LOOKUP(watched, &ifindex)) {
		ifindex = out ? FIELD(out, ifindex) : 0;
		direction = TO_POD;
		if (!LOOKUP(watched, &ifindex))
			return 0;
	}
	if (bpf_ktime_get_ns() > control(DEADLINE))
		return 0;
	if (read_ip(FIELD(skb, head) + FIELD(skb, network_header), number((u8 *)&type), 0, &packet) ||
	    packet.later_fragment || packet.icmp_error || is_reply(ifindex, &packet))
		return 0;
	__builtin_memcpy(key.source, packet.source, 16);
	__builtin_memcpy(key.destination, packet.destination, 16);
	key.ifindex = ifindex;
	key.port = packet.port;
	key.protocol = packet.protocol;
	key.kind = direction;
	add_drop(&key, packet.source_port, FIELD(skb, len));
	return 0;
}

/* Since 5.17 the kernel gives a reason. */
PROGRAM("raw_tracepoint/kfree_skb") int drop_by_reason(struct bpf_raw_tracepoint_args *context)
{
	if ((u32)context->args[2] != wanted(REASON))
		return 0;
	return note_drop((struct sk_buff *)context->args[0]);
}

PROGRAM("raw_tracepoint/kfree_skb") int drop_by_place(struct bpf_raw_tracepoint_args *context)
{
	u64 place = context->args[1];

	if (place < wanted(PLACE_BEGIN) || place >= wanted(PLACE_END))
		return 0;
	return note_drop((struct sk_buff *)context->args[0]);
}

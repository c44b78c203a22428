/* The probe, and for flows whose addresses the node translates the true ends, from conntrack at their
 * first packet. For kernels (6.1 and newer) that let programs ask it. */
#include "compat.h"
#include "probe.h"
#include "parse.h"
#include "shared.h"

#define NAT_STATUS	(1 << 4 | 1 << 5)	/* IPS_SRC_NAT, IPS_DST_NAT */
#define CURRENT_NETWORK	(-1)

/* The fields that are read of the kernel's own structs; their places come from its BTF. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
union nf_inet_addr {
	u32 all[4];
};

union nf_conntrack_man_proto {
	u16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			u16 all;
		} u;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
};
#pragma clang attribute pop

struct bpf_ct_opts___asked {
	int netns_id;
	int error;
	u8 l4proto;
	u8 dir;
	u8 reserved[2];
};

#define KERNEL_FUNCTION	__attribute__((section(".ksyms")))

extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
					 u32 tuple_size, struct bpf_ct_opts___asked *options,
					 u32 options_size) KERNEL_FUNCTION;
extern void bpf_ct_release(struct nf_conn *connection) KERNEL_FUNCTION;

HASH(translations, struct translation_key, struct translation, 8192);

static __always_inline void note_ends(struct translation_key *key)
{
	u64 now = bpf_ktime_get_ns();
	struct translation fresh = { .first = now, .last = now, .times = 1 };
	struct translation *known = LOOKUP(translations, key);

	if (!known) {
		if (!INSERT(translations, key, &fresh))
			return;
		known = LOOKUP(translations, key);
		if (!known) {
			count(TRANSLATION_LOST);
			return;
		}
	}
	__sync_fetch_and_add(&known->times, 1);
	known->last = now;
}

static __always_inline void copy_address(u8 *to, union nf_inet_addr *from, int ipv6)
{
	u32 words[4] = {};

	if (ipv6) {
		words[0] = from->all[0];
		words[1] = from->all[1];
		words[2] = from->all[2];
		words[3] = from->all[3];
	} else {
		words[3] = from->all[0];
	}
	__builtin_memcpy(to, words, 16);
	if (!ipv6)
		to[10] = to[11] = 0xff;
}

/* Two bytes in network order as a number. */
static __always_inline u16 host_order(u16 value)
{
	return number((u8 *)&value);
}

/* Conntrack knows a packet that leaves for a pod by the tuple of its answer. */
static __always_inline u32 tuple_of_answer(struct packet *packet, int ipv6, struct bpf_sock_tuple *tuple)
{
	u16 source_port = __builtin_bswap16(packet->port);
	u16 port = __builtin_bswap16(packet->source_port);

	if (ipv6) {
		__builtin_memcpy(tuple->ipv6.saddr, packet->destination, 16);
		__builtin_memcpy(tuple->ipv6.daddr, packet->source, 16);
		tuple->ipv6.sport = source_port;
		tuple->ipv6.dport = port;
		return sizeof(tuple->ipv6);
	}
	__builtin_memcpy(&tuple->ipv4.saddr, packet->destination + 12, 4);
	__builtin_memcpy(&tuple->ipv4.daddr, packet->source + 12, 4);
	tuple->ipv4.sport = source_port;
	tuple->ipv4.dport = port;
	return sizeof(tuple->ipv4);
}

static __always_inline void find_ends(struct __sk_buff *skb, struct packet *packet, int ipv6,
				      struct flow_key *flow)
{
	struct bpf_ct_opts___asked options = {
		.netns_id = CURRENT_NETWORK, .l4proto = packet->protocol
	};
	struct bpf_sock_tuple tuple = {};
	struct translation_key key = {};
	struct nf_conn *found;
	u32 size = tuple_of_answer(packet, ipv6, &tuple);

	found = bpf_skb_ct_lookup(skb, &tuple, size, &options, sizeof(options));
	if (!found)
		return;
	if (found->status & NAT_STATUS) {
		struct nf_conntrack_tuple *original = &found->tuplehash[0].tuple;
		struct nf_conntrack_tuple *answer = &found->tuplehash[1].tuple;

		key.flow = *flow;
		copy_address(key.original_source, &original->src.u3, ipv6);
		copy_address(key.original_destination, &original->dst.u3, ipv6);
		copy_address(key.backend, &answer->src.u3, ipv6);
		key.original_port = host_order(original->dst.u.all);
		key.backend_port = host_order(answer->src.u.all);
	}
	bpf_ct_release(found);
	if (key.flow.protocol)
		note_ends(&key);
}

static __always_inline int is_ipv6(struct packet *packet)
{
	u32 words[4];

	__builtin_memcpy(words, packet->source, 16);
	return words[0] || words[1] || packet->source[10] != 0xff;
}

static __always_inline void find_translation(struct __sk_buff *skb, struct packet *packet,
					     struct flow_key *flow)
{
	if (packet->protocol != PROTOCOL_TCP && packet->protocol != PROTOCOL_UDP)
		return;
	if (is_ipv6(packet))
		find_ends(skb, packet, 1, flow);
	else
		find_ends(skb, packet, 0, flow);
}

#define note_translation	find_translation
#include "probe.bpf.c"

/* Shared with migrate/audit/layout.py; a test compares both sides. Integers in the order of the
 * machine, ports in host order, IPv4 as ::ffff:a.b.c.d, times in nanoseconds since boot. */
#ifndef MIG_PROBE_H
#define MIG_PROBE_H

enum direction { FROM_POD = 0, TO_POD = 1 };

enum flow_kind { NEW_FLOW = 0, MID_STREAM = 1, ICMP_ERROR = 3, COARSE_FLAG = 1 << 4 };

enum counter {
	PACKETS,
	NEW,		/* the sum of `events` in all tables, and LOST */
	CREATED,
	FULL,
	COARSE,
	LOST,
	CONNECTION_CREATED,
	CONNECTION_FAILED,
	CONNECTION_EXPIRED,
	SHORT,
	NOT_IP,
	LATER_FRAGMENT,
	REPLY,
	REPLY_LOST,
	RETRANSMITTED,
	AFTER_DEADLINE,
	TRANSLATION_LOST,
	DROP_LOST,
	COUNTERS
};

enum control { ACTIVE, SAMPLING, SEQUENCE, DEADLINE, CONTROLS };

struct flow_key {
	u8 source[16];
	u8 destination[16];
	u32 ifindex;
	u16 port;	/* the responder's; ICMP: type << 8 | code */
	u8 protocol;
	u8 kind;	/* direction | flow_kind << 1, COARSE_FLAG */
};
_Static_assert(sizeof(struct flow_key) == 40, "FlowKey in migrate/audit/layout.py too");

struct flow_value {
	u64 first;
	u64 last;
	u64 events;
	u64 octets;
	u32 answered;
	u32 refused;
	u16 source_port;	/* the initiator's last one */
	u16 unused;
	u32 retransmitted;
};
_Static_assert(sizeof(struct flow_value) == 48, "FlowValue in migrate/audit/layout.py too");

/* Both ways of a connection have one key: `low` is the smaller end. */
struct connection_key {
	u8 low[16];
	u8 high[16];
	u32 ifindex;
	u16 low_port;
	u16 high_port;
	u8 protocol;
	u8 unused[3];
};
_Static_assert(sizeof(struct connection_key) == 44, "CONNECTION in migrate/audit/layout.py too");

/* The true ends of a flow whose addresses the node translates. */
struct translation_key {
	struct flow_key flow;
	u8 original_source[16];
	u8 original_destination[16];
	u8 backend[16];
	u16 original_port;
	u16 backend_port;
	u32 unused;
};
_Static_assert(sizeof(struct translation_key) == 96, "TranslationKey in layout.py too");

struct translation {
	u64 first;
	u64 last;
	u64 times;
};
_Static_assert(sizeof(struct translation) == 24, "Translation in layout.py too");

struct connection {
	u64 last;
	u8 low_began;
	u8 answered;
	u8 refused;
	u8 opened;	/* its SYN was seen */
	u8 unused[4];
};
_Static_assert(sizeof(struct connection) == 16, "CONNECTION in migrate/audit/layout.py too");

#endif

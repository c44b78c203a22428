/* Reads the headers of IP and above by copies, which also reach those outside of the linear part of
 * a packet. */
#ifndef MIG_PARSE_H
#define MIG_PARSE_H

/* Where the bytes of a packet are copied from. */
#ifndef READ
#define SOURCE			struct __sk_buff
#define READ(from, offset, to, length)	bpf_skb_load_bytes(from, offset, to, length)
#endif

#define ETHERNET_LENGTH	14
#define TYPE_IPV4	0x0800
#define TYPE_IPV6	0x86dd
#define TYPE_VLAN	0x8100
#define TYPE_QINQ	0x88a8

#define PROTOCOL_ICMP	1
#define PROTOCOL_TCP	6
#define PROTOCOL_UDP	17
#define PROTOCOL_ICMPV6	58
#define PROTOCOL_SCTP	132
#define PROTOCOL_UDPLITE 136

#define TCP_FIN	0x01
#define TCP_SYN	0x02
#define TCP_RST	0x04
#define TCP_ACK	0x10

struct packet {
	u8 source[16] __attribute__((aligned(8)));
	u8 destination[16] __attribute__((aligned(8)));
	u16 source_port;	/* ICMP echo: the identifier */
	u16 port;		/* ICMP: type << 8 | code, an echo reply has that of its request */
	u8 protocol;
	u8 tcp_flags;
	u8 later_fragment;
	u8 icmp_error;
};

enum parsed { PARSED, NOT_AN_IP_PACKET, TOO_SHORT };

static __always_inline u16 number(const u8 *bytes)
{
	return (u16)bytes[0] << 8 | bytes[1];
}

static __always_inline int read_ipv4(SOURCE *from, u32 *offset, struct packet *packet)
{
	u8 header[20];

	if (READ(from, *offset, header, sizeof(header)))
		return TOO_SHORT;
	if (header[0] >> 4 != 4 || (header[0] & 15) < 5)
		return TOO_SHORT;
	packet->source[10] = packet->source[11] = 0xff;
	packet->destination[10] = packet->destination[11] = 0xff;
	__builtin_memcpy(packet->source + 12, header + 12, 4);
	__builtin_memcpy(packet->destination + 12, header + 16, 4);
	packet->protocol = header[9];
	packet->later_fragment = (number(header + 6) & 0x1fff) != 0;
	*offset += (header[0] & 15) * 4;
	return PARSED;
}

static __always_inline int is_extension(u8 header)
{
	return header == 0 || header == 43 || header == 44 || header == 51 || header == 60;
}

/* At most six extension headers; behind more of them the packet counts as a protocol of its own. */
static __always_inline int skip_extensions(SOURCE *from, u32 *offset, struct packet *packet)
{
	u8 next[4];

#pragma unroll
	for (int i = 0; i < 6; i++) {
		if (!is_extension(packet->protocol) || packet->later_fragment)
			break;
		if (READ(from, *offset, next, sizeof(next)))
			return TOO_SHORT;
		if (packet->protocol == 44) {
			packet->later_fragment = (number(next + 2) & 0xfff8) != 0;
			*offset += 8;
		} else if (packet->protocol == 51) {
			*offset += (next[1] + 2) * 4;
		} else {
			*offset += (next[1] + 1) * 8;
		}
		packet->protocol = next[0];
	}
	return PARSED;
}

static __always_inline int read_ipv6(SOURCE *from, u32 *offset, struct packet *packet)
{
	u8 header[40];

	if (READ(from, *offset, header, sizeof(header)))
		return TOO_SHORT;
	if (header[0] >> 4 != 6)
		return TOO_SHORT;
	__builtin_memcpy(packet->source, header + 8, 16);
	__builtin_memcpy(packet->destination, header + 24, 16);
	packet->protocol = header[6];
	*offset += sizeof(header);
	return skip_extensions(from, offset, packet);
}

static __always_inline int read_icmp(SOURCE *from, u32 offset, struct packet *packet)
{
	u8 header[8];
	u8 request = packet->protocol == PROTOCOL_ICMP ? 8 : 128;
	u8 reply = packet->protocol == PROTOCOL_ICMP ? 0 : 129;
	u8 type;

	if (READ(from, offset, header, sizeof(header)))
		return TOO_SHORT;
	type = header[0];
	packet->port = number(header);
	if (type == request || type == reply) {
		packet->source_port = number(header + 4);
		packet->port = (u16)request << 8;
	}
	if (packet->protocol == PROTOCOL_ICMP)
		packet->icmp_error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	else
		packet->icmp_error = type < 128;
	return PARSED;
}

static __always_inline int read_transport(SOURCE *from, u32 offset, struct packet *packet)
{
	u8 header[14];
	u8 protocol = packet->protocol;

	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6)
		return read_icmp(from, offset, packet);
	if (protocol == PROTOCOL_TCP) {
		if (READ(from, offset, header, 14))
			return TOO_SHORT;
		packet->tcp_flags = header[13];
	} else if (protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP ||
		   protocol == PROTOCOL_UDPLITE) {
		if (READ(from, offset, header, 4))
			return TOO_SHORT;
	} else {
		return PARSED;
	}
	packet->source_port = number(header);
	packet->port = number(header + 2);
	return PARSED;
}

static __always_inline int read_ip(SOURCE *from, u16 type, u32 offset, struct packet *packet)
{
	int result = NOT_AN_IP_PACKET;

	if (type == TYPE_IPV4)
		result = read_ipv4(from, &offset, packet);
	else if (type == TYPE_IPV6)
		result = read_ipv6(from, &offset, packet);
	if (result != PARSED || packet->later_fragment)
		return result;
	return read_transport(from, offset, packet);
}

#endif

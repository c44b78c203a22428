/* Reads Ethernet frames, from their beginning on and by direct packet access, which costs least. */
#ifndef MIG_FRAME_H
#define MIG_FRAME_H

/* TCP or UDP right behind an IPv4 header without options, as nearly all packets are. Returns 0 for all
 * others, which are read by copies; so is what is not in the linear part. */
static __always_inline int read_plain(const u8 *data, const u8 *end, struct packet *packet)
{
	if (data + 42 > end || data[12] != 0x08 || data[13] != 0x00 || data[14] != 0x45)
		return 0;
	if ((data[20] & 0x1f) | data[21])
		return 0;
	if (data[23] == PROTOCOL_TCP) {
		if (data + 48 > end)
			return 0;
		packet->tcp_flags = data[47];
	} else if (data[23] != PROTOCOL_UDP) {
		return 0;
	}
	packet->protocol = data[23];
	packet->source[10] = packet->source[11] = 0xff;
	packet->destination[10] = packet->destination[11] = 0xff;
	__builtin_memcpy(packet->source + 12, data + 26, 4);
	__builtin_memcpy(packet->destination + 12, data + 30, 4);
	packet->source_port = number(data + 34);
	packet->port = number(data + 36);
	return 1;
}

static __always_inline int read_packet(struct __sk_buff *skb, struct packet *packet)
{
	const u8 *data = (void *)(long)skb->data;
	const u8 *end = (void *)(long)skb->data_end;
	u8 bytes[2];
	u16 type;
	u32 offset = ETHERNET_LENGTH;

	if (data + ETHERNET_LENGTH > end)
		return TOO_SHORT;
	if (read_plain(data, end, packet))
		return PARSED;
	type = number(data + 12);
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != TYPE_VLAN && type != TYPE_QINQ)
			break;
		if (READ(skb, offset + 2, bytes, 2))
			return TOO_SHORT;
		type = number(bytes);
		offset += 4;
	}
	return read_ip(skb, type, offset, packet);
}

/* A segment without SYN or RST and without IP options, the bulk of what a node carries. */
static __always_inline int is_established_tcp(struct __sk_buff *skb)
{
	const u8 *data = (void *)(long)skb->data;
	const u8 *end = (void *)(long)skb->data_end;

	if (data + 48 > end)
		return 0;
	if (data[12] == 0x08 && data[13] == 0x00)
		return data[14] == 0x45 && data[23] == PROTOCOL_TCP &&
		       !((data[20] & 0x3f) | data[21]) && !(data[47] & (TCP_SYN | TCP_RST));
	if (data[12] == 0x86 && data[13] == 0xdd && data + 68 <= end)
		return data[20] == PROTOCOL_TCP && !(data[67] & (TCP_SYN | TCP_RST));
	return 0;
}

#endif

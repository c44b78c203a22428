/* One source, two loaders: libbpf, and BCC with MIG_BCC defined. Only these macros touch maps.
 * BCC refuses map methods that come out of a macro, so its loader writes LOOKUP(m, k) and the like
 * out as m.lookup(k) before it compiles. */
#ifndef MIG_COMPAT_H
#define MIG_COMPAT_H

#ifdef MIG_BCC

#include <uapi/linux/bpf.h>

#define PROGRAM(section)
/* The loader defines PINNED as nothing, or as ":" and the place of a map that is there already, and
 * TABLE_FLAGS. */
#define HASH(name, K, V, entries)                                                                  \
	BPF_F_TABLE("hash" PINNED(#name), K, V, name, entries, TABLE_FLAGS)
#define LRU(name, K, V, entries)	BPF_TABLE("lru_hash" PINNED(#name), K, V, name, entries)
#define PER_CPU(name, V, entries)	BPF_TABLE("percpu_array" PINNED(#name), u32, V, name, entries)
#define ARRAY(name, V, entries)		BPF_TABLE("array" PINNED(#name), u32, V, name, entries)

#else

#include <linux/bpf.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define SECTION(name)	__attribute__((section(name), used))
#define PROGRAM(name)	SECTION(name)

/* libbpf reads the numbers of a map from the bounds of arrays in its BTF. */
#define MAP_NUMBER(name, value)	int (*name)[value]
#define MAP(kind, name, K, V, entries)                                                             \
	struct {                                                                                   \
		MAP_NUMBER(type, kind);                                                            \
		MAP_NUMBER(max_entries, entries);                                                  \
		K *key;                                                                            \
		V *value;                                                                          \
	} name SECTION(".maps")
#define HASH(name, K, V, entries)	MAP(BPF_MAP_TYPE_HASH, name, K, V, entries)
#define LRU(name, K, V, entries)	MAP(BPF_MAP_TYPE_LRU_HASH, name, K, V, entries)
#define PER_CPU(name, V, entries)	MAP(BPF_MAP_TYPE_PERCPU_ARRAY, name, u32, V, entries)
#define ARRAY(name, V, entries)		MAP(BPF_MAP_TYPE_ARRAY, name, u32, V, entries)

#define LOOKUP(map, key)		bpf_map_lookup_elem(&map, key)
#define INSERT(map, key, value)		bpf_map_update_elem(&map, key, value, BPF_NOEXIST)
#define UPDATE(map, key, value)		bpf_map_update_elem(&map, key, value, BPF_ANY)

static void *(*const bpf_map_lookup_elem)(void *, const void *) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_map_update_elem)(void *, const void *, const void *, u64) =
	(void *)BPF_FUNC_map_update_elem;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*const bpf_skb_load_bytes)(const void *, u32, void *, u32) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*const bpf_probe_read_kernel)(void *, u32, const void *) =
	(void *)BPF_FUNC_probe_read_kernel;

/* The kernel lends its helpers to programs under its own licence only. */
char LICENSE[] SECTION("license") = "GPL v2";

#endif

/* The kernel's headers make a mere `inline` of it. */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

#endif

#!/bin/sh
# Makes the dump of a Linux node with the node's own programs, as `migrate scan node` @VERSION@ makes it.
#
#     sh dump.sh [NAME]       as root, on the node; NAME is the node's name in the cluster, by default the host name
#
# It writes the folder NAME into the current folder, for `migrate scan --node-dump`. It only reads: it changes nothing
# on the node, and asks the kernel for nothing that would make it load a module. Exit status 4: a part was not read.
set -u
LC_ALL=C
PATH="${PATH:-}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
export LC_ALL PATH
umask 022

stop() {
	echo "error: $1" >&2
	exit 2
}

[ "$(id -u)" -eq 0 ] || stop "the kernel shows its rules to root only; run it with sudo"
node=${1:-$(uname -n | tr '[:upper:]' '[:lower:]')}
case $node in
"" | *[!a-z0-9.-]* | [!a-z0-9]*) stop "'$node' is no name of a node; give it: sh dump.sh NAME" ;;
esac
[ ! -e "$node" ] || stop "$node is there already; take it away or go to another folder"
made=.migrate-$$
trap 'rm -rf "$made" "$made.files" "$made.said"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir "$made" || stop "nothing can be written here; go to another folder"
: >"$made.files"
status=0

# A text inside of JSON: in one line, without what JSON or a terminal would take for a sign.
quoted() {
	printf '%s' "$1" | tr '\n' ';' | tr -cd '\040-\176' | cut -c 1-300 | sed 's/[\\"]/\\&/g'
}

# note FILE COMMAND STATUS DETAIL: how the reading of a file went.
note() {
	digest=null
	if [ "$3" = read ] && command -v sha256sum >/dev/null; then
		digest="\"$(sha256sum <"$made/$1" | cut -d ' ' -f 1)\""
	fi
	[ "$3" != failed ] || status=4
	[ -z "$4" ] || echo "$1: $3: $4" >&2
	printf '{"name":"%s","command":"%s","status":"%s","detail":"%s","sha256":%s}\n' \
		"$1" "$(quoted "$2")" "$3" "$(quoted "$4")" "$digest" >>"$made.files"
}

# keep FILE COMMAND...: what a command prints.
keep() {
	file=$1
	shift
	if "$@" >"$made/$file" 2>"$made.said"; then
		note "$file" "$*" read ""
	else
		code=$?
		rm -f "$made/$file"
		note "$file" "$*" failed "$1 ended with status $code: $(cat "$made.said")"
	fi
}

# needed FILE PROGRAM ARGUMENT...: a program without which a part of every node stays unread.
needed() {
	if command -v "$2" >/dev/null; then
		keep "$@"
	else
		name=$1
		shift
		note "$name" "$*" failed "there is no program $1; install it"
	fi
}

# copied FILE PATH...: files of the kernel; without the first there is none, others may be missing.
copied() {
	if [ ! -e "$2" ]; then
		note "$1" "cat $2" absent "there is no $2"
		return
	fi
	name=$1
	shift
	for path in "$@"; do
		shift
		[ ! -e "$path" ] || set -- "$@" "$path"
	done
	keep "$name" cat "$@"
}

# has_module FILE COMMAND NAME: whether the kernel has a module. It loads some when they are first asked for.
has_module() {
	[ -e /proc/modules ] || return 0
	! grep -q "^$3 " /proc/modules || return 0
	[ ! -d "/sys/module/$3" ] || return 0
	builtin=/lib/modules/$(uname -r)/modules.builtin
	if [ ! -r "$builtin" ]; then
		note "$1" "$2" failed "whether $3 is part of the kernel cannot be told without $builtin, and asking could load it"
		return 1
	fi
	! grep -q "/$3\.ko\$" "$builtin" || return 0
	note "$1" "$2" absent "the kernel has not loaded $3, so there is nothing of it; asking would load it"
	return 1
}

# has_tables FILE COMMAND PLACE: whether the older iptables has tables in the kernel.
has_tables() {
	! grep -q . "$3" 2>/dev/null || return 0
	note "$1" "$2" absent "the kernel has no tables of the older iptables; asking for them could load some"
	return 1
}

# saved FILE OTHER SORT PROGRAM ARGUMENT...: what a program saves; OTHER may be the same, if its version names the SORT.
saved() {
	name=$1
	other=$2
	sort=$3
	shift 3
	if ! command -v "$1" >/dev/null && [ -n "$other" ] && "$other" --version 2>/dev/null | grep -q "$sort"; then
		shift
		set -- "$other" "$@"
	fi
	needed "$name" "$@"
}

if has_tables iptables-legacy-save.txt "iptables-legacy-save -c" /proc/net/ip_tables_names; then
	saved iptables-legacy-save.txt iptables-save '(legacy)\|v[0-9.]*$' iptables-legacy-save -c
fi
if has_tables ip6tables-legacy-save.txt "ip6tables-legacy-save -c" /proc/net/ip6_tables_names; then
	saved ip6tables-legacy-save.txt ip6tables-save '(legacy)\|v[0-9.]*$' ip6tables-legacy-save -c
fi
if has_module ip6tables-nft-save.txt "ip6tables-nft-save -c" nf_tables; then
	saved ip6tables-nft-save.txt ip6tables-save '(nf_tables)' ip6tables-nft-save -c
fi
if has_module iptables-nft-save.txt "iptables-nft-save -c" nf_tables; then
	saved iptables-nft-save.txt iptables-save '(nf_tables)' iptables-nft-save -c
fi
if has_module ipset-save.txt "ipset save" ip_set; then
	saved ipset-save.txt "" "" ipset save
fi
if has_module nft.json "nft -j list ruleset" nf_tables; then
	saved nft.json "" "" nft -j list ruleset
fi

needed links.json ip -j -d link show
needed addresses.json ip -j address show
needed routes.json ip -j -4 route show table all
needed routes6.json ip -j -6 route show table all
needed rules.json ip -j rule show
needed bpf.json bpftool -j net show
if grep -q ' cgroup2 ' /proc/mounts; then
	needed bpf-cgroup.json bpftool -j cgroup tree
else
	note bpf-cgroup.json "bpftool -j cgroup tree" absent "no cgroup filesystem of version 2 is mounted"
fi

copied ipvs.txt /proc/net/ip_vs
if grep -q ' /sys/fs/bpf bpf ' /proc/mounts; then
	keep pinned.txt find /sys/fs/bpf -mindepth 1
else
	note pinned.txt "find /sys/fs/bpf -mindepth 1" absent "no bpf filesystem is mounted at /sys/fs/bpf"
fi
keep kernel.txt uname -srvm
copied modules.txt /proc/modules
copied mounts.txt /proc/mounts
if [ -e /sys/kernel/btf/vmlinux ]; then
	keep btf.txt ls /sys/kernel/btf/vmlinux
else
	note btf.txt "ls /sys/kernel/btf/vmlinux" absent "this kernel shows no types of its own"
fi

# Settings that a node does not have are left out.
settings() {
	command -v sysctl >/dev/null || {
		echo "there is no program sysctl" >&2
		return 1
	}
	for setting in net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.bridge net.netfilter net.ipv4.conf; do
		sysctl "$setting" 2>/dev/null
	done
	return 0
}
keep sysctl.txt settings
copied udp-sockets.txt /proc/net/udp /proc/net/udp6

# What network plugins leave on a node.
traces() {
	for path in @PATHS@; do
		if [ -e "$path" ] || [ -L "$path" ]; then
			printf '%s\n' "$path"
		fi
	done
}
keep paths.txt traces

# CNI configuration: no kubeconfigs, nothing but JSON, and no value of a field whose name speaks of a secret.
configurations() {
	for path in @CNI@; do
		case ${path##*/} in
		*[Kk][Uu][Bb][Ee][Cc][Oo][Nn][Ff][Ii][Gg]*) continue ;;
		esac
		[ -f "$path" ] || continue
		first=$(tr -d ' \n\r\t' <"$path" | cut -c 1)
		if [ "$first" != "{" ]; then
			grep -q '^clusters:' "$path" || printf '==> %s <==\n%s\n\n' "$path" "@NO_JSON@"
			continue
		fi
		! tr -d ' \n\r\t' <"$path" | grep -q '"kind":"Config"' || continue
		if tr '\n\r\t' '   ' <"$path" | grep -Eq '@NESTED@'; then
			printf '==> %s <==\n%s\n\n' "$path" "left out: a shell cannot tell its secrets from the rest"
			continue
		fi
		printf '==> %s <==\n' "$path"
		tr '\n\r\t' '   ' <"$path" | sed -E -e 's~@SECRETS@~\1"REDACTED"~g' -e 's~//[^@", ]+@~//REDACTED@~g'
		printf '\n\n'
	done
	return 0
}
keep cni.txt configurations

started=$(sed -n 's/^btime //p' /proc/stat)
booted=$(date -u -d "@$started" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null) && booted="\"$booted\"" || booted=null
{
	printf '{"apiVersion":"cilium-migrate/v1alpha1","kind":"NodeDump","toolVersion":"@VERSION@",'
	printf '"name":"%s","system":"linux","way":"files",' "$node"
	printf '"taken":"%s","booted":%s,"files":[\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$booted"
	sed '$!s/$/,/' "$made.files"
	printf ']}\n'
} >"$made/node.json"
mv "$made" "$node" || stop "$node cannot be written"
echo "wrote $node; copy it to where the snapshot is: migrate scan --node-dump $node" >&2
exit "$status"

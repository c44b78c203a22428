package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"sigs.k8s.io/yaml"
)

// The expected answers below come from Calico's documentation (docs/reference/resources and
// docs/network-policy), not from running the engine.

const cluster = `
namespaces:
- {name: shop, labels: {team: shop}}
- {name: ops, labels: {team: ops}}
serviceAccounts:
- {namespace: shop, name: web, labels: {role: front}}
- {namespace: ops, name: bot, labels: {role: robot}}
nodes:
- {name: n1, ips: [192.168.0.1, "fd00:1::1"]}
- {name: n2, ips: [192.168.0.2]}
- {name: n3, ips: [192.168.0.3]}
pods:
- {namespace: shop, name: web, labels: {app: web, tier: front-end}, ips: [10.0.0.1, "fd00::1"], serviceAccount: web, node: n1, namedPorts: [{name: http, protocol: TCP, port: 8080}]}
- {namespace: shop, name: db, labels: {app: db, env: prod}, ips: [10.0.0.2, "fd00::2"], node: n2, namedPorts: [{name: sql, protocol: TCP, port: 5432}]}
- {namespace: shop, name: cache, labels: {app: cache}, ips: [10.0.0.3], node: n1}
- {namespace: ops, name: bot, labels: {app: bot}, ips: [10.0.1.1], serviceAccount: bot, node: n2}
- {namespace: ops, name: db, labels: {app: db}, ips: [10.0.1.2], node: n3}
services:
- {namespace: shop, name: sql, selector: {app: db}, ports: [{protocol: TCP, port: 5432}]}
`

// A want is "src > dst proto/port = verdict"; an end is ns/pod, an IP, or node:name.
type tc struct {
	name     string
	policies string
	want     []string
	options  Options
	bad      int // how many of the policies must be refused
}

func gnp(name, spec string) string {
	return fmt.Sprintf("---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

func np(ns, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, ns, spec)
}

func knp(ns, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, ns, spec)
}

func obj(kind, meta, spec string) string {
	return fmt.Sprintf("---\napiVersion: projectcalico.org/v3\nkind: %s\nmetadata: {%s}\nspec: %s\n", kind, meta, spec)
}

const allowAll = "[{action: Allow}]"

var cases = []tc{
	{name: "no policy at all: the namespace profile allows", want: []string{
		"shop/web > shop/db TCP/80 = allow", "8.8.8.8 > shop/web TCP/80 = allow", "shop/web > 8.8.8.8 UDP/53 = allow"}},
	{name: "a selected pod is denied what no rule allows, only in the policy's direction",
		policies: np("shop", "p", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: TCP, source: {selector: "app == 'web'"}, destination: {ports: [5432]}}]}`),
		want:     []string{"shop/web > shop/db TCP/5432 = allow", "shop/web > shop/db TCP/80 = deny", "shop/cache > shop/db TCP/5432 = deny", "shop/db > shop/cache TCP/1 = allow"}},
	{name: "the lower order goes first and the first matching rule decides",
		policies: gnp("a", `{order: 20, selector: all(), types: [Ingress], ingress: [{action: Deny}]}`) +
			gnp("b", `{order: 10, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [5432]}}]}`),
		want: []string{"shop/web > shop/db TCP/5432 = allow", "shop/web > shop/db TCP/5433 = deny", "shop/db > shop/web TCP/80 = deny"}},
	{name: "no order is last",
		policies: gnp("a", `{selector: all(), types: [Ingress], ingress: [{action: Allow}]}`) +
			gnp("z", `{order: 9999, selector: all(), types: [Ingress], ingress: [{action: Deny, source: {nets: [8.8.8.0/24]}}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = deny", "9.9.9.9 > shop/web TCP/1 = allow"}},
	{name: "rules inside one policy go top down",
		policies: gnp("a", `{selector: "app == 'web'", types: [Egress], egress: [{action: Deny, destination: {nets: [10.0.1.0/24]}}, {action: Allow, destination: {nets: [10.0.0.0/8]}}]}`),
		want:     []string{"shop/web > ops/db TCP/1 = deny", "shop/web > shop/db TCP/1 = allow", "shop/web > 8.8.8.8 TCP/1 = deny"}},
	{name: "tiers go by order; Pass goes to the next tier",
		policies: obj("Tier", "name: sec", "{order: 100}") +
			gnp("sec.first", `{tier: sec, selector: all(), types: [Ingress], ingress: [{action: Deny, source: {nets: [8.8.8.8/32]}}, {action: Pass}]}`) +
			gnp("allow", `{selector: "app == 'web'", types: [Ingress], ingress: [{action: Allow}]}`) +
			gnp("deny", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = deny", "9.9.9.9 > shop/web TCP/1 = allow", "9.9.9.9 > shop/db TCP/1 = deny", "9.9.9.9 > shop/cache TCP/1 = allow"}},
	{name: "Pass leaves the rest of its tier",
		policies: gnp("one", `{order: 1, selector: all(), types: [Ingress], ingress: [{action: Pass, source: {nets: [8.8.8.8/32]}}]}`) +
			gnp("two", `{order: 2, selector: all(), types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = allow", "9.9.9.9 > shop/web TCP/1 = deny"}},
	{name: "a tier ends in deny for the endpoints that one of its policies selects",
		policies: obj("Tier", "name: sec", "{order: 100}") +
			gnp("sec.one", `{tier: sec, selector: "app == 'web'", types: [Ingress], ingress: [{action: Allow, source: {nets: [8.8.8.8/32]}}]}`) +
			gnp("all", `{selector: all(), types: [Ingress], ingress: [{action: Allow}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = allow", "9.9.9.9 > shop/web TCP/1 = deny", "9.9.9.9 > shop/db TCP/1 = allow"}},
	{name: "a tier with defaultAction Pass goes on",
		policies: obj("Tier", "name: sec", "{order: 100, defaultAction: Pass}") +
			gnp("sec.one", `{tier: sec, selector: "app == 'web'", types: [Ingress], ingress: [{action: Deny, source: {nets: [8.8.8.8/32]}}]}`) +
			gnp("all", `{selector: all(), types: [Ingress], ingress: [{action: Allow, source: {nets: [9.9.9.9/32]}}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = deny", "9.9.9.9 > shop/web TCP/1 = allow", "7.7.7.7 > shop/web TCP/1 = deny"}},
	{name: "Log does not decide",
		policies: gnp("a", `{selector: all(), types: [Ingress], ingress: [{action: Log}, {action: Allow, protocol: TCP}]}`),
		want:     []string{"8.8.8.8 > shop/web TCP/1 = allow", "8.8.8.8 > shop/web UDP/1 = deny"}},
	{name: "notPorts", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {notPorts: [22, "8000:8100"]}}]}`),
		want: []string{"shop/web > shop/db TCP/80 = allow", "shop/web > shop/db TCP/22 = deny", "shop/web > shop/db TCP/8050 = deny"}},
	{name: "port ranges as strings", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: ["1000:2000", 53]}}]}`),
		want: []string{"shop/web > shop/db TCP/1000 = allow", "shop/web > shop/db TCP/2000 = allow", "shop/web > shop/db TCP/2001 = deny", "shop/web > shop/db TCP/53 = allow"}},
	{name: "notNets", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, source: {nets: [10.0.0.0/8], notNets: [10.0.1.0/24]}}]}`),
		want: []string{"shop/web > shop/db TCP/1 = allow", "ops/bot > shop/db TCP/1 = deny", "8.8.8.8 > shop/db TCP/1 = deny"}},
	{name: "a rule with IPv4 notNets only says nothing of IPv6", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, source: {notNets: [10.0.1.0/24]}}]}`),
		want: []string{"shop/web > shop/db TCP/1 = allow", "fd00::1 > fd00::2 TCP/1 = deny"}},
	{name: "notSelector matches what is no endpoint too; a negated selector does not",
		policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, source: {notSelector: "app == 'web'"}}]}`) +
			gnp("b", `{selector: "app == 'bot'", types: [Ingress], ingress: [{action: Allow, source: {selector: "app != 'web'"}}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/1 = allow", "shop/web > shop/db TCP/1 = deny", "shop/cache > shop/db TCP/1 = allow",
			"8.8.8.8 > ops/bot TCP/1 = deny", "shop/cache > ops/bot TCP/1 = allow", "shop/web > ops/bot TCP/1 = deny"}},
	{name: "in a NetworkPolicy a notSelector is limited to the namespace",
		policies: np("shop", "a", `{selector: "app == 'db'", ingress: [{action: Allow, source: {notSelector: "app == 'web'"}}]}`),
		want:     []string{"shop/cache > shop/db TCP/1 = allow", "shop/web > shop/db TCP/1 = deny", "ops/bot > shop/db TCP/1 = deny", "8.8.8.8 > shop/db TCP/1 = deny"}},
	{name: "notProtocol", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, notProtocol: UDP}]}`),
		want: []string{"shop/web > shop/db TCP/1 = allow", "shop/web > shop/db UDP/1 = deny", "shop/web > shop/db SCTP/1 = allow", "shop/web > shop/db ICMP/8 = allow"}},
	{name: "a NetworkPolicy's peer selector stays in its namespace; a GlobalNetworkPolicy's does not",
		policies: np("shop", "a", `{selector: "app == 'web'", ingress: [{action: Allow, source: {selector: "app == 'db'"}}]}`) +
			gnp("b", `{selector: "app == 'cache'", ingress: [{action: Allow, source: {selector: "app == 'db'"}}]}`),
		want: []string{"shop/db > shop/web TCP/1 = allow", "ops/db > shop/web TCP/1 = deny", "ops/db > shop/cache TCP/1 = allow", "shop/db > shop/cache TCP/1 = allow"}},
	{name: "namespaceSelector", policies: np("shop", "a", `{selector: all(), ingress: [{action: Allow, source: {namespaceSelector: "team == 'ops'"}}]}`),
		want: []string{"ops/bot > shop/db TCP/1 = allow", "shop/web > shop/db TCP/1 = deny", "8.8.8.8 > shop/db TCP/1 = deny"}},
	{name: "namespaceSelector all() is any workload, not the outside", policies: np("shop", "a", `{selector: all(), ingress: [{action: Allow, source: {namespaceSelector: "all()"}}]}`),
		want: []string{"ops/bot > shop/db TCP/1 = allow", "shop/web > shop/db TCP/1 = allow", "8.8.8.8 > shop/db TCP/1 = deny"}},
	{name: "namespaceSelector by projectcalico.org/name and kubernetes.io/metadata.name",
		policies: np("shop", "a", `{selector: "app == 'db'", ingress: [{action: Allow, source: {namespaceSelector: "projectcalico.org/name == 'ops'"}}]}`) +
			np("shop", "b", `{selector: "app == 'web'", ingress: [{action: Allow, source: {namespaceSelector: "kubernetes.io/metadata.name == 'ops'"}}]}`),
		want: []string{"ops/bot > shop/db TCP/1 = allow", "shop/cache > shop/db TCP/1 = deny", "ops/bot > shop/web TCP/1 = allow", "shop/cache > shop/web TCP/1 = deny"}},
	{name: "global() reaches global network sets only",
		policies: obj("GlobalNetworkSet", "name: good, labels: {kind: good}", "{nets: [8.8.8.0/24]}") +
			obj("NetworkSet", "name: local, namespace: shop, labels: {kind: good}", "{nets: [9.9.9.0/24]}") +
			np("shop", "g", `{selector: "app == 'db'", ingress: [{action: Allow, source: {namespaceSelector: "global()", selector: "kind == 'good'"}}]}`) +
			np("shop", "l", `{selector: "app == 'web'", ingress: [{action: Allow, source: {selector: "kind == 'good'"}}]}`) +
			gnp("a", `{selector: "app == 'bot'", ingress: [{action: Allow, source: {selector: "kind == 'good'"}}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/1 = allow", "9.9.9.9 > shop/db TCP/1 = deny", "8.8.8.8 > shop/web TCP/1 = deny", "9.9.9.9 > shop/web TCP/1 = allow",
			"8.8.8.8 > ops/bot TCP/1 = allow", "9.9.9.9 > ops/bot TCP/1 = allow", "7.7.7.7 > ops/bot TCP/1 = deny"}},
	{name: "service accounts in rules and for the policy's endpoints",
		policies: np("shop", "a", `{selector: "app == 'db'", ingress: [{action: Allow, source: {serviceAccounts: {names: [web]}}}]}`) +
			gnp("b", `{serviceAccountSelector: "role == 'robot'", ingress: [{action: Allow, source: {serviceAccounts: {selector: "role == 'front'"}}}]}`),
		want: []string{"shop/web > shop/db TCP/1 = allow", "shop/cache > shop/db TCP/1 = deny", "shop/web > ops/bot TCP/1 = allow", "shop/cache > ops/bot TCP/1 = deny", "shop/cache > ops/db TCP/1 = allow"}},
	{name: "a GlobalNetworkPolicy's namespaceSelector", policies: gnp("a", `{namespaceSelector: "team in {'shop'}", types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/1 = deny", "8.8.8.8 > ops/db TCP/1 = allow"}},
	{name: "named ports, per endpoint and protocol", policies: gnp("a", `{selector: all(), types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [http, sql, 22]}}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/8080 = allow", "8.8.8.8 > shop/db TCP/8080 = deny", "8.8.8.8 > shop/db TCP/5432 = allow", "8.8.8.8 > shop/db UDP/5432 = deny", "8.8.8.8 > shop/cache TCP/22 = allow"}},
	{name: "ICMP type and code", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Allow, protocol: ICMP, icmp: {type: 3, code: 4}}]}`),
		want: []string{"8.8.8.8 > shop/db ICMP/8 = allow", "8.8.8.8 > shop/db ICMP/3 = deny", "8.8.8.8 > shop/db ICMP/3/4 = allow", "8.8.8.8 > shop/db TCP/8 = deny"}},
	{name: "notICMP", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: ICMP, notICMP: {type: 8}}]}`),
		want: []string{"8.8.8.8 > shop/db ICMP/8 = deny", "8.8.8.8 > shop/db ICMP/0 = allow"}},
	{name: "selector language",
		policies: gnp("has", `{order: 1, selector: "has(env)", types: [Ingress], ingress: [{action: Allow, source: {nets: [1.0.0.1/32]}}]}`) +
			gnp("in", `{order: 1, selector: "app in {'web', 'x'}", types: [Ingress], ingress: [{action: Allow, source: {nets: [1.0.0.2/32]}}]}`) +
			gnp("notin", `{order: 1, selector: "app not in {'web', 'db', 'cache'}", types: [Ingress], ingress: [{action: Allow, source: {nets: [1.0.0.3/32]}}]}`) +
			gnp("contains", `{order: 1, selector: "tier contains 'ont-e'", types: [Ingress], ingress: [{action: Allow, source: {nets: [1.0.0.4/32]}}]}`) +
			gnp("starts", `{order: 1, selector: "app starts with 'ca' || app ends with 'ot'", types: [Ingress], ingress: [{action: Allow, source: {nets: [1.0.0.5/32]}}]}`),
		want: []string{"1.0.0.1 > shop/db TCP/1 = allow", "1.0.0.9 > shop/db TCP/1 = deny", "1.0.0.9 > ops/db TCP/1 = allow",
			"1.0.0.2 > shop/web TCP/1 = allow", "1.0.0.4 > shop/web TCP/1 = allow", "1.0.0.1 > shop/web TCP/1 = deny",
			"1.0.0.3 > ops/bot TCP/1 = allow", "1.0.0.5 > ops/bot TCP/1 = allow", "1.0.0.5 > shop/cache TCP/1 = allow", "1.0.0.3 > shop/cache TCP/1 = deny"}},
	{name: "!= and not in match where the label is missing", policies: gnp("a", `{selector: "env != 'prod'", types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = deny", "8.8.8.8 > shop/db TCP/1 = allow"}},
	{name: "types default to what rules there are",
		policies: gnp("i", `{selector: "app == 'web'"}`) + gnp("e", `{selector: "app == 'db'", egress: [{action: Deny}]}`) +
			gnp("b", `{selector: "app == 'cache'", ingress: [{action: Deny}], egress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = deny", "shop/web > 8.8.8.8 TCP/1 = allow", "shop/db > 8.8.8.8 TCP/1 = deny", "8.8.8.8 > shop/db TCP/1 = allow",
			"8.8.8.8 > shop/cache TCP/1 = deny", "shop/cache > 8.8.8.8 TCP/1 = deny"}},
	{name: "Kubernetes policies have order 1000 in the default tier",
		policies: knp("shop", "k", `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`) +
			gnp("before", `{order: 900, selector: "app == 'db'", types: [Ingress], ingress: [{action: Deny, protocol: TCP, destination: {ports: [22]}}]}`) +
			gnp("after", `{order: 1100, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, source: {nets: [8.8.8.8/32]}}, {action: Deny, source: {selector: "app == 'web'"}}]}`),
		want: []string{"shop/web > shop/db TCP/80 = allow", "shop/web > shop/db TCP/22 = deny", "8.8.8.8 > shop/db TCP/1 = allow", "9.9.9.9 > shop/db TCP/1 = deny", "ops/bot > shop/db TCP/1 = deny"}},
	{name: "Kubernetes policies alone: ipBlock with except, endPort, namespaceSelector with podSelector",
		policies: knp("shop", "k", `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 8.8.0.0/16, except: [8.8.8.0/24]}}], ports: [{protocol: TCP, port: 80, endPort: 90}]}, {from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: bot}}}]}], egress: [{to: [{namespaceSelector: {}}]}]}`),
		want: []string{"8.8.1.1 > shop/db TCP/85 = allow", "8.8.8.1 > shop/db TCP/85 = deny", "8.8.1.1 > shop/db TCP/91 = deny", "8.8.1.1 > shop/db UDP/85 = deny",
			"ops/bot > shop/web TCP/1 = allow", "ops/db > shop/web TCP/1 = deny", "shop/web > ops/db TCP/1 = allow", "shop/web > 8.8.8.8 TCP/1 = deny"}},
	{name: "a service in an egress rule is its endpoints and their ports", policies: np("shop", "a", `{selector: "app == 'web'", egress: [{action: Allow, destination: {services: {name: sql, namespace: shop}}}]}`),
		want: []string{"shop/web > shop/db TCP/5432 = allow", "shop/web > shop/db TCP/80 = deny", "shop/web > ops/db TCP/5432 = deny"}},
	{name: "a service in an ingress rule is its endpoints at any port", policies: np("shop", "a", `{selector: "app == 'web'", ingress: [{action: Allow, source: {services: {name: sql, namespace: shop}}}]}`),
		want: []string{"shop/db > shop/web TCP/9 = allow", "shop/cache > shop/web TCP/9 = deny"}},
	{name: "ipVersion", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, ipVersion: 6}]}`),
		want: []string{"shop/web > shop/db TCP/1 = deny", "fd00::1 > fd00::2 TCP/1 = allow"}},
	{name: "a numeric protocol", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: 132}]}`),
		want: []string{"shop/web > shop/db SCTP/1 = allow", "shop/web > shop/db TCP/1 = deny"}},
	{name: "source ports", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: UDP, source: {ports: [53]}}]}`),
		want: []string{"8.8.8.8:53 > shop/db UDP/9 = allow", "8.8.8.8:54 > shop/db UDP/9 = deny"}},
	{name: "both ends must agree", policies: np("shop", "e", `{selector: "app == 'web'", types: [Egress], egress: [{action: Allow, destination: {selector: "app == 'db'"}}]}`) +
		np("shop", "i", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, source: {selector: "app == 'cache'"}}]}`),
		want: []string{"shop/web > shop/db TCP/1 = deny", "shop/cache > shop/db TCP/1 = allow", "shop/web > shop/cache TCP/1 = deny"}},
	{name: "staged policies do nothing", policies: obj("StagedGlobalNetworkPolicy", "name: s", `{selector: all(), types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = allow"}},
	{name: "bad policies are refused", bad: 4, policies: gnp("a", `{selector: "app = 'db'", ingress: [{action: Deny}]}`) +
		gnp("b", `{selector: all(), ingress: [{action: Drop}]}`) +
		gnp("c", `{selector: all(), ingress: [{action: Deny, destination: {ports: [80]}}]}`) +
		gnp("d", `{selector: all(), doNotTrack: true, ingress: [{action: Deny}]}`),
		want: []string{"8.8.8.8 > shop/web TCP/1 = allow"}},
	{name: "the same order: the name decides (GlobalNetworkPolicies)",
		policies: gnp("bbb", `{order: 5, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow}]}`) +
			gnp("aaa", `{order: 5, selector: "app == 'db'", types: [Ingress], ingress: [{action: Deny, protocol: TCP}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/1 = deny", "8.8.8.8 > shop/db UDP/1 = allow"}},
	{name: "host endpoint: denied by default, failsafe ports stay open",
		policies: obj("HostEndpoint", "name: h1, labels: {host: n1}", "{node: n1, interfaceName: '*'}"),
		want:     []string{"8.8.8.8 > node:n1 TCP/80 = deny", "8.8.8.8 > node:n1 TCP/22 = allow", "node:n1 > 8.8.8.8 TCP/80 = deny", "node:n1 > 8.8.8.8 UDP/53 = allow", "8.8.8.8 > node:n2 TCP/80 = allow"}},
	{name: "failsafe ports can be set", policies: obj("HostEndpoint", "name: h1", "{node: n1, interfaceName: '*'}") +
		obj("FelixConfiguration", "name: default", "{failsafeInboundHostPorts: [{protocol: tcp, port: 80, net: 8.0.0.0/8}], failsafeOutboundHostPorts: []}"),
		want: []string{"8.8.8.8 > node:n1 TCP/80 = allow", "9.9.9.9 > node:n1 TCP/80 = deny", "8.8.8.8 > node:n1 TCP/22 = deny", "node:n1 > 8.8.8.8 UDP/53 = deny"}},
	{name: "a tier that is missing sorts last and denies", policies: gnp("x.a", `{tier: x, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, protocol: TCP}]}`) +
		gnp("b", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Pass, source: {nets: [8.0.0.0/8]}}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/80 = allow", "8.8.8.8 > shop/db UDP/80 = deny", "9.9.9.9 > shop/db TCP/80 = deny"}},
	{name: "an automatic host endpoint allows until a policy selects it",
		policies: obj("HostEndpoint", "name: n1-auto-hep, labels: {host: n1}", "{node: n1, interfaceName: '*', profiles: [projectcalico-default-allow], expectedIPs: [192.168.0.1]}") +
			obj("HostEndpoint", "name: n2-auto-hep, labels: {host: n2}", "{node: n2, interfaceName: '*', profiles: [projectcalico-default-allow], expectedIPs: [192.168.0.2]}") +
			gnp("a", `{selector: "host == 'n2'", types: [Ingress], ingress: [{action: Allow, source: {selector: "host == 'n1'"}}]}`),
		want: []string{"8.8.8.8 > node:n1 TCP/80 = allow", "8.8.8.8 > node:n2 TCP/80 = deny", "node:n1 > node:n2 TCP/80 = allow", "node:n2 > 8.8.8.8 TCP/80 = allow"}},
	{name: "GlobalNetworkPolicy all() selects host endpoints too; a host's traffic to its own pods is free",
		policies: obj("HostEndpoint", "name: h1, labels: {host: n1}", "{node: n1, interfaceName: '*', expectedIPs: [192.168.0.1]}") +
			gnp("a", `{selector: all(), types: [Ingress], ingress: [{action: Deny}]}`),
		want: []string{"node:n1 > shop/web TCP/80 = allow", "node:n2 > shop/web TCP/80 = deny", "shop/db > node:n1 TCP/80 = deny", "shop/web > node:n1 TCP/80 = allow"}},
	{name: "defaultEndpointToHostAction", policies: "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {defaultEndpointToHostAction: Drop}\n",
		want: []string{"shop/web > node:n1 TCP/80 = deny", "shop/web > node:n2 TCP/80 = allow"}},
	{name: "applyOnForward polices what goes through a host endpoint",
		policies: obj("HostEndpoint", "name: h2, labels: {host: n2}", "{node: n2, interfaceName: eth0, profiles: [projectcalico-default-allow]}") +
			gnp("fwd", `{selector: "host == 'n2'", applyOnForward: true, types: [Ingress], ingress: [{action: Deny, source: {nets: [8.8.8.8/32]}}, {action: Allow}]}`) +
			gnp("host", `{selector: "host == 'n2'", order: 1, types: [Ingress], ingress: [{action: Deny, source: {nets: [9.9.9.9/32]}}, {action: Pass}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/80 = deny", "9.9.9.9 > shop/db TCP/80 = allow", "8.8.8.8 > shop/web TCP/80 = allow", "9.9.9.9 > node:n2 TCP/80 = deny"}},
	{name: "preDNAT and doNotTrack go before the rest, and do not deny by default",
		policies: obj("HostEndpoint", "name: h2, labels: {host: n2}", "{node: n2, interfaceName: eth0, profiles: [projectcalico-default-allow]}") +
			gnp("pre", `{selector: "host == 'n2'", preDNAT: true, applyOnForward: true, types: [Ingress], ingress: [{action: Allow, source: {nets: [7.0.0.0/8]}}, {action: Deny, source: {nets: [8.0.0.0/8]}}]}`) +
			gnp("raw", `{selector: "host == 'n2'", doNotTrack: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny, source: {nets: [7.7.7.7/32]}}]}`) +
			gnp("norm", `{selector: "host == 'n2'", types: [Ingress], ingress: [{action: Deny, source: {nets: [7.0.0.0/8]}}, {action: Allow}]}`),
		want: []string{"7.1.1.1 > node:n2 TCP/80 = allow", "7.7.7.7 > node:n2 TCP/80 = deny", "8.1.1.1 > node:n2 TCP/80 = deny", "9.1.1.1 > node:n2 TCP/80 = allow", "8.1.1.1 > shop/db TCP/80 = deny"}},
	{name: "failsafe ports pass the raw and mangle tables, forwarded ones too",
		policies: obj("HostEndpoint", "name: h2, labels: {host: n2}", "{node: n2, interfaceName: eth0, profiles: [projectcalico-default-allow]}") +
			gnp("pre", `{selector: "host == 'n2'", preDNAT: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny, source: {nets: [8.0.0.0/8]}}]}`) +
			gnp("raw", `{selector: "host == 'n2'", doNotTrack: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny, source: {nets: [9.0.0.0/8]}}]}`),
		want: []string{"8.1.1.1 > shop/db TCP/80 = deny", "8.1.1.1 > shop/db TCP/22 = allow", "9.1.1.1 > shop/db TCP/80 = deny", "9.1.1.1 > shop/db TCP/22 = allow"}},
	{name: "a pod may do neighbour discovery with its own node whatever policy says",
		policies: gnp("a", `{selector: "app == 'web'", types: [Egress], egress: [{action: Deny}]}`) +
			"---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {defaultEndpointToHostAction: Drop}\n",
		want: []string{"shop/web > node:n1 ICMPv6/135 = allow", "shop/web > node:n1 ICMPv6/128 = deny"}},
	{name: "VXLAN from pods can be allowed",
		policies: "---\napiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {allowVXLANPacketsFromWorkloads: true}\n",
		want:     []string{"shop/web > shop/db UDP/4789 = allow"}},
	{name: "a raw crd.projectcalico.org/v1 object with no types holds for both directions",
		policies: strings.Replace(gnp("default.a", `{selector: "app == 'db'", ingress: [{action: Allow}]}`), "projectcalico.org/v3", "crd.projectcalico.org/v1", 1),
		want:     []string{"8.8.8.8 > shop/db TCP/1 = allow", "shop/db > 8.8.8.8 TCP/1 = deny"}},
	{name: "stored objects keep their labels in an annotation",
		policies: "---\napiVersion: crd.projectcalico.org/v1\nkind: GlobalNetworkSet\nmetadata: {name: s, annotations: {projectcalico.org/metadata: '{\"labels\":{\"kind\":\"bad\"},\"uid\":\"x\"}'}}\nspec: {nets: [8.8.8.0/24]}\n" +
			gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Deny, source: {selector: "kind == 'bad'"}}, {action: Allow}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/1 = deny", "9.9.9.9 > shop/db TCP/1 = allow"}},
	{name: "VXLAN from a pod is dropped", want: []string{"shop/web > shop/db UDP/4789 = deny", "8.8.8.8 > shop/db UDP/4789 = allow"}},
	{name: "HTTP matches are not looked at by the packet dataplane", policies: gnp("a", `{selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow, http: {methods: [GET]}}]}`),
		want: []string{"8.8.8.8 > shop/db TCP/80 = allow"}},
}

func docs(t *testing.T, y string) (out []json.RawMessage) {
	for _, d := range strings.Split(y, "---\n") {
		if strings.TrimSpace(d) == "" {
			continue
		}
		j, err := yaml.YAMLToJSON([]byte(d))
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		out = append(out, j)
	}
	return
}

func end(s string) (PeerIn, int) {
	if n, ok := strings.CutPrefix(s, "node:"); ok {
		return PeerIn{Node: n}, 0
	}
	if strings.Contains(s, "/") {
		return PeerIn{Pod: s}, 0
	}
	port := 0
	if strings.Count(s, ":") == 1 {
		var ip string
		ip, p, _ := strings.Cut(s, ":")
		fmt.Sscan(p, &port)
		s = ip
	}
	return PeerIn{IP: s}, port
}

func parseWant(t *testing.T, s string) (f FlowIn, verdict string) {
	w := strings.Fields(s)
	if len(w) != 6 {
		t.Fatalf("bad want %q", s)
	}
	f.Src, f.SrcPort = end(w[0])
	f.Dst, _ = end(w[2])
	parts := strings.Split(w[3], "/")
	f.Protocol = parts[0]
	fmt.Sscan(parts[1], &f.Port)
	if strings.HasPrefix(f.Protocol, "ICMP") {
		ty, code := f.Port, 0
		if len(parts) > 2 {
			fmt.Sscan(parts[2], &code)
		}
		f.ICMPType, f.ICMPCode = &ty, &code
	}
	return f, w[5]
}

func TestSemantics(t *testing.T) {
	logrus.SetLevel(logrus.FatalLevel)
	flows := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := &Input{}
			if err := yaml.Unmarshal([]byte(cluster), in); err != nil {
				t.Fatal(err)
			}
			in.Options = c.options
			in.Policies = docs(t, c.policies)
			var verdicts []string
			for _, s := range c.want {
				f, v := parseWant(t, s)
				in.Flows = append(in.Flows, f)
				verdicts = append(verdicts, v)
			}
			flows += len(verdicts)
			out, err := run(in)
			if err != nil {
				t.Fatal(err)
			}
			bad := 0
			for _, p := range out.Policies {
				if !p.OK {
					bad++
					if c.bad == 0 {
						t.Errorf("policy %s refused: %s", p.Name, p.Error)
					}
				}
			}
			if bad != c.bad {
				t.Errorf("%d policies refused, want %d: %+v", bad, c.bad, out.Policies)
			}
			for i, f := range out.Flows {
				if f.Verdict != verdicts[i] {
					t.Errorf("%s: got %q (egress %s, ingress %s) %s %s", c.want[i], f.Verdict, f.Egress, f.Ingress, f.Rule, f.Error)
				}
			}
		})
	}
	t.Logf("%d cases, %d flows", len(cases), flows)
}

// The two tie-breaks differ between a namespaced and a global policy of the same order.
func TestTieBreak(t *testing.T) {
	pols := np("shop", "zz", `{order: 5, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow}]}`) +
		gnp("mm", `{order: 5, selector: "app == 'db'", types: [Ingress], ingress: [{action: Deny}]}`) +
		np("ops", "aa", `{order: 5, selector: "app == 'db'", types: [Ingress], ingress: [{action: Allow}]}`)
	for opt, want := range map[string][2]string{"legacy": {"deny", "deny"}, "current": {"deny", "allow"}} {
		in := &Input{}
		if err := yaml.Unmarshal([]byte(cluster), in); err != nil {
			t.Fatal(err)
		}
		in.Options.TieBreak = opt
		in.Policies = docs(t, pols)
		in.Flows = []FlowIn{{Src: PeerIn{IP: "8.8.8.8"}, Dst: PeerIn{Pod: "shop/db"}, Protocol: "TCP", Port: 1}, {Src: PeerIn{IP: "8.8.8.8"}, Dst: PeerIn{Pod: "ops/db"}, Protocol: "TCP", Port: 1}}
		out, err := run(in)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if out.Flows[i].Verdict != want[i] {
				t.Errorf("%s flow %d: %+v, want %s", opt, i, out.Flows[i], want[i])
			}
		}
		if !out.Flows[1].TieSensitive || out.Flows[0].TieSensitive {
			t.Errorf("%s: tie sensitivity wrong: %+v", opt, out.Flows)
		}
	}
}

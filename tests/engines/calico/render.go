package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/projectcalico/calico/felix/environment"
	"github.com/projectcalico/calico/felix/ipsets"
	"github.com/projectcalico/calico/felix/iptables"
	"github.com/projectcalico/calico/felix/proto"
	"github.com/projectcalico/calico/felix/rules"
	"github.com/projectcalico/calico/libcalico-go/lib/selector"
)

// hooks are the rules that Felix puts into the kernel's own chains (dataplane/linux
// int_dataplane.go, setUpIptablesNormal).
var hooks = []struct{ table, chain, target string }{
	{"raw", "PREROUTING", rules.ChainRawPrerouting},
	{"raw", "OUTPUT", rules.ChainRawOutput},
	{"mangle", "PREROUTING", rules.ChainManglePrerouting},
	{"mangle", "POSTROUTING", rules.ChainManglePostrouting},
	{"nat", "PREROUTING", rules.ChainNATPrerouting},
	{"nat", "OUTPUT", rules.ChainNATOutput},
	{"nat", "POSTROUTING", rules.ChainNATPostrouting},
	{"filter", "INPUT", rules.ChainFilterInput},
	{"filter", "FORWARD", rules.ChainFilterForward},
	{"filter", "OUTPUT", rules.ChainFilterOutput},
}

// others are rules of kube-proxy, which stand beside Felix's.
var others = map[string][]string{
	"filter": {"-A INPUT -m comment --comment \"kubernetes ports\" -j KUBE-NODEPORTS", "-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD"},
	"mangle": {},
}

// state is what a dataplane driver holds in the end.
type state struct {
	sets     map[string]*setState
	policies map[string]*proto.Policy
	profiles map[string]*proto.Profile
	weps     map[proto.WorkloadEndpointID]*proto.WorkloadEndpoint
	heps     map[string]*proto.HostEndpoint
}

type setState struct {
	kind    proto.IPSetUpdate_IPSetType
	members map[string]bool
}

func (p *plane) state() *state {
	s := &state{
		sets: map[string]*setState{}, policies: map[string]*proto.Policy{}, profiles: map[string]*proto.Profile{},
		weps: map[proto.WorkloadEndpointID]*proto.WorkloadEndpoint{}, heps: map[string]*proto.HostEndpoint{},
	}
	for _, msg := range p.messages {
		switch m := msg.(type) {
		case *proto.IPSetUpdate:
			found := &setState{m.Type, map[string]bool{}}
			for _, member := range m.Members {
				found.members[member] = true
			}
			s.sets[m.Id] = found
		case *proto.IPSetDeltaUpdate:
			for _, member := range m.AddedMembers {
				s.sets[m.Id].members[member] = true
			}
			for _, member := range m.RemovedMembers {
				delete(s.sets[m.Id].members, member)
			}
		case *proto.ActivePolicyUpdate:
			s.policies[m.Id.Name] = m.Policy
		case *proto.ActiveProfileUpdate:
			s.profiles[m.Id.Name] = m.Profile
		case *proto.WorkloadEndpointUpdate:
			s.weps[*m.Id] = m.Endpoint
		case *proto.HostEndpointUpdate:
			s.heps[m.Id.EndpointId] = m.Endpoint
		}
	}
	return s
}

// render answers what Felix would write on a node: chains by its own renderer, reduced to
// those that are in use as its table layer does, and the IP sets.
func render(in *Input) (*RenderOut, error) {
	out := &RenderOut{Selectors: []SelectorOut{}}
	for _, text := range in.Selectors {
		parsed, err := selector.Parse(text)
		if err != nil {
			out.Selectors = append(out.Selectors, SelectorOut{Error: err.Error()})
			continue
		}
		out.Selectors = append(out.Selectors, SelectorOut{Text: parsed.String(), ID: parsed.UniqueID()})
	}
	if in.Render == nil {
		return out, nil
	}
	want := *in.Render
	if want.InterfacePrefix == "" {
		want.InterfacePrefix = "cali"
	}
	if err := os.Setenv("FELIX_INTERFACEPREFIX", want.InterfacePrefix); err != nil {
		return nil, err
	}
	w := newWorld(in.Options)
	w.renderNode = want.Node
	if err := w.addInventory(in); err != nil {
		return nil, err
	}
	w.addPolicies(in.Policies)
	p, err := buildPlane(w.updates)
	if err != nil {
		return nil, err
	}
	out.Policies = w.out
	st := p.state()
	for id, ep := range st.weps {
		if ep.Name == "" {
			return nil, fmt.Errorf("endpoint %v has no interface", id)
		}
	}
	r := &renderer{want: want, state: st, renderer: rules.NewRenderer(p.rulesConfig(want))}
	out.IPTables, out.IP6Tables = r.tables(4), r.tables(6)
	out.IPSet = st.ipset()
	return out, nil
}

func ipConfig(family ipsets.IPFamily) *ipsets.IPVersionConfig {
	return ipsets.NewIPVersionConfig(family, rules.IPSetNamePrefix, rules.AllHistoricIPSetNamePrefixes, nil)
}

func (p *plane) rulesConfig(want RenderIn) rules.Config {
	prefix := want.LogPrefix
	if prefix == "" {
		prefix = p.conf.LogPrefix
	}
	deny, allow := want.DenyAction, want.AllowAction
	if allow == "" {
		allow = "ACCEPT"
	}
	if deny == "" {
		deny = "DROP"
	}
	return rules.Config{
		IPSetConfigV4: ipConfig(ipsets.IPFamilyV4), IPSetConfigV6: ipConfig(ipsets.IPFamilyV6),
		WorkloadIfacePrefixes: []string{want.InterfacePrefix},
		IptablesMarkAccept:    0x10000, IptablesMarkPass: 0x20000,
		IptablesMarkScratch0: 0x40000, IptablesMarkScratch1: 0x80000,
		IptablesMarkEndpoint: 0xfff00000, IptablesMarkNonCaliEndpoint: 0x100000,
		VXLANPort: 4789, VXLANVNI: 4096,
		IptablesLogPrefix: prefix, EndpointToHostAction: "ACCEPT",
		IptablesFilterAllowAction: allow, IptablesMangleAllowAction: "ACCEPT", IptablesFilterDenyAction: deny,
		FailsafeInboundHostPorts: p.conf.FailsafeInboundHostPorts, FailsafeOutboundHostPorts: p.conf.FailsafeOutboundHostPorts,
		ServiceLoopPrevention: "Drop",
	}
}

type renderer struct {
	want     RenderIn
	state    *state
	renderer rules.RuleRenderer
}

// groups joins neighbouring policies of one selector (dataplane/linux endpoint_mgr.go, groupPolicies).
func (r *renderer) groups(names []string, direction rules.PolicyDirection) (found []*rules.PolicyGroup) {
	for _, name := range names {
		sel := r.state.policies[name].OriginalSelector
		if len(found) == 0 || found[len(found)-1].Selector != sel {
			found = append(found, &rules.PolicyGroup{Tier: defaultTier, Direction: direction, Selector: sel})
		}
		last := found[len(found)-1]
		last.PolicyNames = append(last.PolicyNames, name)
	}
	return
}

func (r *renderer) filterChains(version uint8) []*iptables.Chain {
	rr := r.renderer
	chains := rr.StaticFilterTableChains(version)
	chains = append(chains, rr.WorkloadDispatchChains(r.state.weps)...)
	for _, ep := range r.state.weps {
		tiers := names(ep.Tiers)
		in, out := r.groups(tiers.ingress, rules.PolicyDirectionInbound), r.groups(tiers.egress, rules.PolicyDirectionOutbound)
		for _, group := range append(append([]*rules.PolicyGroup{}, in...), out...) {
			if !group.ShouldBeInlined() {
				chains = append(chains, rr.PolicyGroupToIptablesChains(group)...)
			}
		}
		up := ep.State == "active"
		chains = append(chains, rr.WorkloadEndpointToIptablesChains(ep.Name, nil, up, in, out, ep.ProfileIds)...)
	}
	byIface := map[string]proto.HostEndpointID{}
	for name, ep := range r.state.heps {
		if ep.Name == "" || ep.Name == "*" {
			continue
		}
		byIface[ep.Name] = proto.HostEndpointID{EndpointId: name}
		tiers, forward := names(ep.Tiers), names(ep.ForwardTiers)
		chains = append(chains, rr.HostEndpointToFilterChains(ep.Name, nil,
			r.groups(tiers.ingress, rules.PolicyDirectionInbound), r.groups(tiers.egress, rules.PolicyDirectionOutbound),
			r.groups(forward.ingress, rules.PolicyDirectionInbound), r.groups(forward.egress, rules.PolicyDirectionOutbound),
			ep.ProfileIds)...)
		for _, both := range []dirs{tiers, forward} {
			for _, group := range append(r.groups(both.ingress, rules.PolicyDirectionInbound), r.groups(both.egress, rules.PolicyDirectionOutbound)...) {
				if !group.ShouldBeInlined() {
					chains = append(chains, rr.PolicyGroupToIptablesChains(group)...)
				}
			}
		}
	}
	chains = append(chains, rr.HostDispatchChains(byIface, "", true)...)
	for name, policy := range r.state.policies {
		chains = append(chains, rr.PolicyToIptablesChains(&proto.PolicyID{Tier: defaultTier, Name: name}, policy, version)...)
	}
	for name, profile := range r.state.profiles {
		in, out := rr.ProfileToIptablesChains(&proto.ProfileID{Name: name}, profile, version)
		chains = append(chains, in, out)
	}
	return append(chains, rr.BlockedCIDRsToIptablesChains(nil, version)...)
}

func (r *renderer) tables(version uint8) string {
	rr := r.renderer
	nat := append(rr.StaticNATTableChains(version), rr.NATOutgoingChain(false, version))
	nat = append(append(nat, rr.DNATsToIptablesChains(nil)...), rr.SNATsToIptablesChains(nil)...)
	host := rr.HostDispatchChains(nil, "", false)
	mangle := append(rr.StaticMangleTableChains(version), host...)
	raw := append(append(rr.StaticRawTableChains(version), host...), &iptables.Chain{Name: rules.ChainRpfSkip})
	text := &strings.Builder{}
	for _, table := range []struct {
		name   string
		chains []*iptables.Chain
	}{{"raw", raw}, {"mangle", mangle}, {"nat", nat}, {"filter", r.filterChains(version)}} {
		r.write(text, table.name, table.chains)
	}
	return text.String()
}

// write prints one table as the restore programs read it, with the chains that can be reached.
func (r *renderer) write(text *strings.Builder, table string, chains []*iptables.Chain) {
	features := &environment.Features{}
	byName := map[string]*iptables.Chain{}
	for _, chain := range chains {
		byName[chain.Name] = chain
	}
	var kernel []iptables.Chain
	var todo []string
	for _, hook := range hooks {
		if hook.table == table {
			kernel = append(kernel, iptables.Chain{Name: hook.chain, Rules: []iptables.Rule{{Action: iptables.JumpAction{Target: hook.target}}}})
			todo = append(todo, hook.target)
		}
	}
	used := map[string]*iptables.Chain{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		chain := byName[name]
		if used[name] != nil {
			continue
		}
		if chain == nil {
			panic("nothing renders chain " + name + " of " + table)
		}
		used[name] = chain
		for _, rule := range chain.Rules {
			if named, ok := rule.Action.(iptables.Referrer); ok {
				todo = append(todo, named.ReferencedChain())
			}
		}
	}
	ordered := make([]string, 0, len(used))
	for name := range used {
		ordered = append(ordered, name)
	}
	sort.Strings(ordered)
	fmt.Fprintf(text, "*%s\n", table)
	for _, name := range ordered {
		fmt.Fprintf(text, ":%s - [0:0]\n", name)
	}
	if table == "filter" {
		text.WriteString(":KUBE-FORWARD - [0:0]\n:KUBE-NODEPORTS - [0:0]\n")
	}
	if table == "mangle" {
		text.WriteString(":KUBE-IPTABLES-HINT - [0:0]\n")
	}
	appended := strings.EqualFold(r.want.Insert, "append")
	if appended {
		writeOthers(text, table)
	}
	for _, chain := range kernel {
		writeChain(text, &chain, features)
	}
	if !appended {
		writeOthers(text, table)
	}
	if table == "filter" {
		writeChain(text, &iptables.Chain{Name: "FORWARD", Rules: r.renderer.StaticFilterForwardAppendRules()}, features)
	}
	for _, name := range ordered {
		writeChain(text, used[name], features)
	}
	text.WriteString("COMMIT\n")
}

func writeOthers(text *strings.Builder, table string) {
	for _, line := range others[table] {
		text.WriteString(line + "\n")
	}
}

func writeChain(text *strings.Builder, chain *iptables.Chain, features *environment.Features) {
	hashes := chain.RuleHashes(features)
	for i, rule := range chain.Rules {
		comment := fmt.Sprintf("-m comment --comment \"%s%s\"", rules.RuleHashPrefix, hashes[i])
		text.WriteString(rule.RenderAppend(chain.Name, comment, features) + "\n")
	}
}

// ipset prints the sets as the restore program reads them.
func (s *state) ipset() string {
	text := &strings.Builder{}
	for _, family := range []ipsets.IPFamily{ipsets.IPFamilyV4, ipsets.IPFamilyV6} {
		config := ipConfig(family)
		ids := make([]string, 0, len(s.sets))
		for id := range s.sets {
			ids = append(ids, id)
		}
		sort.Strings(ids)
		for _, id := range ids {
			kind := ipsets.IPSetTypeHashNet
			if s.sets[id].kind == proto.IPSetUpdate_IP_AND_PORT {
				kind = ipsets.IPSetTypeHashIPPort
			}
			name := config.NameForMainIPSet(id)
			fmt.Fprintf(text, "create %s %s family %s maxelem 1048576\n", name, kind, family)
			members := make([]string, 0, len(s.sets[id].members))
			for member := range s.sets[id].members {
				members = append(members, member)
			}
			sort.Strings(members)
			for _, member := range members {
				if kind.IsMemberIPV6(member) == (family == ipsets.IPFamilyV6) {
					fmt.Fprintf(text, "add %s %s\n", name, member)
				}
			}
		}
	}
	return text.String()
}

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func rendered(t *testing.T, document string) *RenderOut {
	t.Helper()
	in := &Input{}
	if err := json.Unmarshal([]byte(document), in); err != nil {
		t.Fatal(err)
	}
	out, err := render(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRenderWritesLocalPodsOnly(t *testing.T) {
	out := rendered(t, `{"render": {"node": "n1"}, "namespaces": [{"name": "a"}],
		"pods": [{"namespace": "a", "name": "here", "node": "n1", "ips": ["10.0.0.1"]},
			{"namespace": "a", "name": "there", "node": "n2", "ips": ["10.0.0.2"]}],
		"policies": [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "a"},
			"spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}}]}`)
	if n := strings.Count(out.IPTables, ":cali-tw-"); n != 1 {
		t.Errorf("%d chains of pods, not 1", n)
	}
	if !strings.Contains(out.IPTables, "cali-pi-a/knp.default.p") {
		t.Error("no chain of the policy")
	}
	for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
		if !strings.Contains(out.IPSet, address) {
			t.Errorf("%s is in no set", address)
		}
	}
}

func TestRenderNamesSelectors(t *testing.T) {
	out := rendered(t, `{"selectors": ["a == 'b'", "a =="]}`)
	if got := out.Selectors[0]; got.Text != `a == "b"` || !strings.HasPrefix(got.ID, "s:") {
		t.Errorf("got %+v", got)
	}
	if out.Selectors[1].Error == "" {
		t.Error("a broken selector is taken")
	}
}

package local

import (
	"slices"
	"strings"

	"github.com/litentry/agentkeys"
)

// Env is what an agent's process gets in its environment.
type Env struct {
	Agent agentkeys.Agent `json:"agent"`
	// Set are placeholders and base URLs, by name.
	Set []Var `json:"set"`
	// Unset are the names of variables that would carry a real credential of
	// any service, or lead a client around the proxy.
	Unset []string `json:"unset"`
}

// EnvAlways is how many variables an agent gets that is lent nothing.
const EnvAlways = 2

// Var is one environment variable.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Env makes the environment for an agent that presents token: a placeholder
// and a base URL for each service lent to it, and nothing for the others.
func (h *Host) Env(label agentkeys.Agent, token string) (Env, error) {
	env := Env{Agent: label, Set: []Var{}}
	now := h.now()
	for _, g := range h.grantsOf(label) {
		if !now.Before(g.Expires) {
			continue
		}
		e, err := h.cat.entry(g.Svc)
		if err != nil {
			return Env{}, err
		}
		url := "http://" + h.addr.String() + "/" + g.Svc.String()
		for _, name := range e.Env.Key {
			env.Set = append(env.Set, Var{name, e.Placeholder(token)})
		}
		bases, _ := e.Env.Base.Get()
		for _, b := range bases {
			env.Set = append(env.Set, Var{b.Name, url + b.Suffix})
		}
		// Whatever the service, its own client or none: one name that works.
		env.Set = append(env.Set, Var{URLVariable(g.Svc), url})
	}
	// EnvAlways of them.
	env.Set = append(env.Set,
		Var{"AGENTKEYS_AGENT", label.String()},
		Var{"AGENTKEYS_SOCKET", h.daemon.SocketPath(label)},
	)
	set := map[string]bool{}
	for _, v := range env.Set {
		set[v.Name] = true
	}
	for _, id := range h.cat.ids() {
		e, err := h.cat.entry(id)
		if err != nil {
			return Env{}, err
		}
		for _, name := range slices.Concat(e.Env.Key, e.Env.Unset) {
			if !set[name] && !slices.Contains(env.Unset, name) {
				env.Unset = append(env.Unset, name)
			}
		}
	}
	slices.Sort(env.Unset)
	return env, nil
}

// URLVariable is the variable that holds the base URL of a service for
// programs that have no variable of their own for it.
func URLVariable(s agentkeys.Service) string {
	return "AGENTKEYS_" + strings.ToUpper(strings.ReplaceAll(s.String(), "-", "_")) + "_URL"
}

package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
)

// ServiceInfo is a line of the catalogue.
type ServiceInfo struct {
	ID          agentkeys.Service `json:"id"`
	Name        string            `json:"name"`
	Summary     string            `json:"summary"`
	BaseURL     string            `json:"base_url"`
	VerifyState string            `json:"checks_key"` // "METHOD /path", none or unknown
	Spend       string            `json:"spend"`      // reported, table or unknown
	Origin      string            `json:"origin"`     // catalogue, added, and changed
}

// ServiceDetail is all that is known about a service, in words.
type ServiceDetail struct {
	ServiceInfo
	Inject       []string `json:"inject"`
	KeyVariables []string `json:"key_variables"`
	URLVariables []string `json:"url_variables"`
	KeyPattern   string   `json:"key_pattern"`
	Allow        []string `json:"allow"`
	Shut         []string `json:"shut"`
	Doors        []string `json:"doors"`
	Terms        string   `json:"terms"`
	Docs         string   `json:"docs"`
	LiveTested   string   `json:"live_tested"`
	Settings     []string `json:"settings"`
	// Minting is what it takes to have keys made, Recipe where a sign-up goes.
	Minting []string `json:"minting,omitempty"`
	Recipe  []string `json:"recipe,omitempty"`
}

// ReadServices lists the services as their files say, whether or not a process
// serves them.
func ReadServices(p Paths) ([]ServiceInfo, error) {
	s, err := readServices(p)
	if err != nil {
		return nil, err
	}
	return s.infos()
}

// ReadService returns all about one service, likewise.
func ReadService(p Paths, id agentkeys.Service) (ServiceDetail, error) {
	s, err := readServices(p)
	if err != nil {
		return ServiceDetail{}, err
	}
	e, err := s.entry(id)
	if err != nil {
		return ServiceDetail{}, err
	}
	return s.detail(e), nil
}

// Services lists the services.
func (h *Host) Services() ([]ServiceInfo, error) { return h.cat.infos() }

// AddService adds or replaces a service of the owner's. ErrServiceMoves unless
// force.
func (h *Host) AddService(ctx context.Context, name string, data []byte, force bool) (ServiceInfo, error) {
	h.change.Lock()
	defer h.change.Unlock()
	e, err := h.cat.add(name, data, func(old, next *catalog.Entry) error {
		if err := h.keepsDoors(ctx, old, next, force); err != nil {
			return err
		}
		return h.consent(ctx, force)(old, next)
	})
	if err != nil {
		return ServiceInfo{}, err
	}
	h.forgetService(e.ID)
	return h.cat.info(e), h.recordService(ctx, "service.add", e.ID, e.Base.String())
}

// ServiceChange is what `services set` changes; nil leaves a setting alone.
type ServiceChange struct {
	Reset          bool              `json:"reset,omitempty"` // first, take back what was set
	BaseURL        *string           `json:"base_url,omitempty"`
	CAPEM          *string           `json:"ca_pem,omitempty"`
	AllowAddresses []netip.AddrPort  `json:"allow_addresses,omitempty"` // added to those there are
	Prices         map[string]string `json:"prices,omitempty"`          // IN/OUT by model, added
	SiteAddress    *netip.AddrPort   `json:"site_address,omitempty"`    // plays the service's pages
	MintURL        *string           `json:"mint_url,omitempty"`        // of the management API, "" for the catalogue's
	MintParameters map[string]string `json:"mint_parameters,omitempty"` // by name, added; "" takes one back
	Force          bool              `json:"force,omitempty"`           // even if a stored key goes elsewhere then
}

// SetService changes where a service is reached, and what it costs.
// ErrServiceMoves unless c.Force.
func (h *Host) SetService(ctx context.Context, id agentkeys.Service, c ServiceChange) (_ ServiceInfo, err error) {
	prices := map[string]catalog.Price{}
	for model, text := range c.Prices {
		p, err := catalog.ParsePrice(text)
		if err != nil {
			return ServiceInfo{}, err
		}
		prices[model] = p
	}
	was := h.federated(id)
	defer func() { err = h.afterFederation(ctx, id, was, err) }()
	h.change.Lock()
	defer h.change.Unlock()
	e, err := h.cat.set(id, func(s *catalog.Settings) {
		if c.Reset {
			*s = catalog.Settings{}
		}
		if c.BaseURL != nil {
			s.BaseURL = *c.BaseURL
		}
		if c.CAPEM != nil {
			s.CAPEM = *c.CAPEM
		}
		for _, a := range c.AllowAddresses {
			if !slices.Contains(s.AllowAddresses, a) {
				s.AllowAddresses = append(slices.Clone(s.AllowAddresses), a)
			}
		}
		if c.SiteAddress != nil {
			s.SiteAddress = *c.SiteAddress
		}
		c.setMinting(s)
		all := map[string]catalog.Price{}
		for model, p := range s.Prices {
			all[model] = p
		}
		for model, p := range prices {
			all[model] = p
		}
		if s.Prices = nil; len(all) > 0 {
			s.Prices = all
		}
	}, h.consent(ctx, c.Force))
	if err != nil {
		return ServiceInfo{}, err
	}
	h.forgetService(id)
	return h.cat.info(e), errors.Join(h.endFederation(ctx, id, was), h.recordService(ctx, "service.set", id, e.Base.String()))
}

// ErrServiceInUse says that a service cannot go while there is a key for it:
// nobody would know any more what to do with the key.
var ErrServiceInUse = errors.New("the service is in use")

// ErrServiceMoves says that a change would send a key that is stored to another
// host than the one it was stored for.
var ErrServiceMoves = errors.New("a key is stored for this service")

// RemoveService takes back an added service and the settings of any.
// ErrServiceInUse, and ErrServiceMoves unless force.
func (h *Host) RemoveService(ctx context.Context, id agentkeys.Service, force bool) (err error) {
	was := h.federated(id)
	defer func() { err = h.afterFederation(ctx, id, was, err) }()
	h.change.Lock()
	defer h.change.Unlock()
	if err := h.cat.remove(id, h.consent(ctx, force)); err != nil {
		return err
	}
	h.forgetService(id)
	return errors.Join(h.endFederation(ctx, id, was), h.recordService(ctx, "service.reset", id, ""))
}

// consent looks after keys that are stored. h.change is held.
func (h *Host) consent(ctx context.Context, force bool) consent {
	return func(old, next *catalog.Entry) error {
		if next != nil {
			if err := daemon.Check(next); err != nil {
				return fmt.Errorf("%w: %w", catalog.ErrFile, err)
			}
		}
		if err := h.keepsManagement(ctx, old, next, force); err != nil {
			return err
		}
		if old == nil || next != nil && old.Base.Scheme == next.Base.Scheme && old.Base.Host == next.Base.Host {
			return nil
		}
		infos, err := h.vault.Infos(ctx, h.wallet)
		if err != nil {
			return err
		}
		stored := slices.ContainsFunc(infos, func(i vault.Info) bool { return i.Service == old.ID })
		switch {
		case !stored && len(h.grantsFor(old.ID)) == 0:
			return nil
		case next == nil:
			return fmt.Errorf("%w: there is a key for %s", ErrServiceInUse, old.ID)
		case force:
			return nil
		}
		return fmt.Errorf("%w: it would go to %s from now on, and not to %s", ErrServiceMoves, next.Base.Host, old.Base.Host)
	}
}

func (h *Host) recordService(ctx context.Context, op string, id agentkeys.Service, subject string) error {
	return h.audit.Record(ctx, grant.Event{
		Time: h.now().UTC(), Op: op, Actor: h.wallet, Svc: id, Subject: subject, Decision: grant.Done,
	})
}

func (s *services) infos() ([]ServiceInfo, error) {
	out := []ServiceInfo{}
	for _, id := range s.ids() {
		e, err := s.entry(id)
		if err != nil {
			return nil, err
		}
		out = append(out, s.info(e))
	}
	return out, nil
}

func (s *services) info(e *catalog.Entry) ServiceInfo {
	i := ServiceInfo{
		ID: e.ID, Name: e.Name, Summary: e.Summary, BaseURL: e.Base.String(),
		VerifyState: e.Verify.Path.State.String(), Spend: string(e.Usage.Pricing), Origin: s.origin(e.ID),
	}
	if method, u, _, ok := e.VerifyRequest(); ok {
		i.VerifyState = method + " " + u.String()
		if rest, inside := strings.CutPrefix(u.String(), e.Base.String()); inside {
			i.VerifyState = method + " " + rest
		}
	}
	return i
}

func (s *services) origin(id agentkeys.Service) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	origin := "catalogue"
	if s.added[id] != nil {
		origin = "added"
	}
	if _, ok := s.settings[id]; ok {
		origin += ", changed"
	}
	return origin
}

func (s *services) detail(e *catalog.Entry) ServiceDetail {
	d := ServiceDetail{
		ServiceInfo: s.info(e), KeyVariables: e.Env.Key, URLVariables: []string{URLVariable(e.ID)},
		KeyPattern: e.Key.Patterns.State.String(), Allow: texts(e.Allow), Shut: texts(e.Shut),
		Terms: "address unknown", Docs: "unknown", LiveTested: e.LiveTested, Settings: []string{},
	}
	for _, p := range e.Inject {
		if p.Header != "" {
			d.Inject = append(d.Inject, "header "+p.Header+": "+p.Prefix+"KEY")
		} else {
			d.Inject = append(d.Inject, "query ?"+p.Query+"=KEY")
		}
	}
	bases, _ := e.Env.Base.Get()
	for _, b := range bases {
		d.URLVariables = append(d.URLVariables, b.Name)
	}
	if ps, ok := e.Key.Patterns.Get(); ok {
		var all []string
		for _, p := range ps {
			all = append(all, p.Match)
		}
		d.KeyPattern = strings.Join(all, " or ")
	}
	for _, door := range catalog.Doors() {
		f := e.Doors[door]
		if f.State == catalog.DoorUnknown {
			continue
		}
		text := fmt.Sprintf("%s: %s", door, f.Fact)
		if f.State == catalog.DoorUnsupported {
			text = fmt.Sprintf("%s: not supported: %s", door, f.Fact)
		}
		if len(f.Needs) > 0 {
			text += " (needs " + strings.Join(f.Needs, ", ") + ")"
		}
		d.Doors = append(d.Doors, text)
	}
	if m := e.Minting; m != nil {
		d.Minting = append(d.Minting, m.Setup...)
		for _, p := range m.Parameters {
			must := "can be set"
			if p.Required {
				must = "must be set"
			}
			d.Minting = append(d.Minting, fmt.Sprintf("%s %s with --mint-param: %s", p.Name, must, p.What))
		}
	}
	if r := e.Recipe; r != nil {
		d.Recipe = append(d.Recipe, "on "+strings.Join(r.Hosts, ", "), "run live: "+r.Live)
		for _, u := range r.Unknown {
			d.Recipe = append(d.Recipe, "not known: "+u)
		}
	}
	if u, ok := e.Terms.URL.Get(); ok {
		d.Terms = u.String()
	}
	d.Terms += "; 'agentkeys terms " + e.ID.String() + "' shows your review"
	if e.Docs != nil {
		d.Docs = e.Docs.String()
	}
	o := e.Owner
	if o.BaseURL != "" {
		d.Settings = append(d.Settings, "base URL "+o.BaseURL)
	}
	if o.CAPEM != "" {
		d.Settings = append(d.Settings, "certificates of its own")
	}
	for _, a := range o.AllowAddresses {
		d.Settings = append(d.Settings, "allowed address "+a.String())
	}
	if o.SiteAddress.IsValid() {
		d.Settings = append(d.Settings, "pages played at "+o.SiteAddress.String())
	}
	if o.Minting != nil {
		d.Settings = append(d.Settings, mintingSettings(o.Minting)...)
	}
	for model, p := range o.Prices {
		d.Settings = append(d.Settings, fmt.Sprintf("price of %s: %s", model, p))
	}
	slices.Sort(d.Settings)
	return d
}

func texts(rules []grant.Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.String()
	}
	return out
}

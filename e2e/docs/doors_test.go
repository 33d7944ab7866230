package docs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/exchange"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// doors are what plays a service's ways to a key.
type doors struct {
	names  *dns.Server // that the session's process asks
	site   *sites.Site
	manage *manage.Server
}

// site starts a service whose pages a browser can visit, and leads the session's
// process there: `SERVICE` or `SERVICE with a bot check`.
func (s *session) site(text string) error {
	service, with, _ := strings.Cut(text, " with ")
	if with != "" && with != "a bot check" {
		return errors.New("a site is played with a bot check, or without")
	}
	if s.doors.names == nil {
		var err error
		if s.doors.names, err = s.takesMail(); err != nil {
			return err
		}
		if err := s.must("agentkeys up"); err != nil {
			return err
		}
	}
	var post *postman.Postman
	o := sites.Options{Service: service, Bot: with != "", Post: func(ctx context.Context, l sites.Letter) error { return post.Post(ctx, l) }}
	site, err := sites.Start(o)
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = site.Close() })
	s.doors.site = site
	if post, err = postman.New(s.doors.names, func() string { return s.stands[exampleSMTP] }, site.Senders()...); err != nil {
		return err
	}
	base, ca := site.BaseURL(), site.CAPEM()
	if base == "" {
		var extra http.Handler
		if service == "openrouter" {
			extra = site.ConsentAPI()
		}
		api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Shape(service), Keyring: s.noted(site.KeyLabel), Extra: extra})
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { _ = api.Close() })
		base, ca = api.BaseURL(), append(ca, api.CAPEM()...)
		if service == "anthropic" {
			base = api.URL() // the catalogue's is without /v1
		}
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(base, "https://"), "/")
	file := filepath.Join(s.home, service+".pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		return err
	}
	s.stands["127.0.0.1:8443"] = site.Addr().String()
	return s.must(fmt.Sprintf("agentkeys services set %s --base-url %s --ca %s --allow-address %s --site-address %s", service, base, file, host, site.Addr()))
}

// noted has the keys that a service made among those that no session may show.
func (s *session) noted(label func(string) string) func(string) string {
	return func(key string) string {
		l := label(key)
		if l != "" {
			s.made.Store(key, true)
		}
		return l
	}
}

// must runs what is not shown.
func (s *session) must(command string) error {
	out, code, err := s.run(command)
	if err != nil || code != 0 {
		return fmt.Errorf("%s: exit code %d, %v\n%s", command, code, err, out)
	}
	return nil
}

// managed plays a service's management API, and the API on which the keys work
// that it makes. $MANAGEMENT is the key that makes keys, $KEY another.
func (s *session) managed(shape string) error {
	if shape != "openrouter" {
		return errors.New("nobody plays this service")
	}
	m, err := manage.Start(manage.Options{Shape: shape})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = m.Close() })
	s.doors.manage = m
	key, err := newKey(testsrv.OpenRouter)
	if err != nil {
		return err
	}
	api, err := testsrv.Start(testsrv.Options{
		Shape: testsrv.OpenRouter, Keyring: s.noted(m.Keyring), Charge: m.Charge, Keys: map[string]string{"the key": key},
	})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = api.Close() })
	s.secrets = append(s.secrets, key, m.Management())
	ca := filepath.Join(s.home, shape+".pem")
	if err := os.WriteFile(ca, append(m.CAPEM(), api.CAPEM()...), 0o600); err != nil {
		return err
	}
	if err := s.must("KEY=" + key + " MANAGEMENT=" + m.Management()); err != nil {
		return err
	}
	return s.must(fmt.Sprintf("agentkeys services set openrouter --base-url %s --ca %s --allow-address %s --allow-address %s --mint-url %s",
		api.BaseURL(), ca, api.Addr(), m.Addr(), m.BaseURL()))
}

// outage has the management API fail, or answer again.
func (s *session) outage(text string) error {
	if s.doors.manage == nil {
		return errors.New("nobody plays a management API")
	}
	switch text {
	case "begins":
		s.doors.manage.Fail(manage.Unavailable)
	case "ends":
		s.doors.manage.Fail(manage.Up)
	default:
		return errors.New("an outage begins or ends")
	}
	return nil
}

// exampleAudience is what documents have chosen at a vendor, and set in the
// broker's configuration.
const exampleAudience = "https://vendor.example"

// exchanges plays a service that takes the broker's tokens, set up for this
// session's wallet, once the operator has listed the audience.
func (s *session) exchanges(shape string) error {
	if s.world == nil || len(s.world.Replicas) == 0 {
		return errors.New("there is no broker")
	}
	w := s.world
	pids := ""
	for address, p := range w.Replicas {
		path := w.Path("broker", address+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w.Write("broker/"+address+".yaml", fmt.Appendf(text, "audiences:\n  - {name: %q, alg: RS256}\n", exampleAudience))
		p.Stop(syscall.SIGTERM)
		p = w.Start("broker-"+address, nil, "broker", "--config", path)
		w.Replicas[address] = p
		w.Await("the broker at "+address, func() bool {
			res, err := http.Get("http://" + address + ":9464/readyz")
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		})
		pids += fmt.Sprint(p.PID(), " ")
	}
	if err := s.must("BROKERS='" + pids + "'"); err != nil {
		return err
	}
	out, code, err := s.run("agentkeys federate " + shape + " --json")
	if err != nil || code != 0 {
		return errors.Join(err, errors.New(out))
	}
	var st struct{ Subject, Issuer string }
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return err
	}
	issuer, err := os.ReadFile(w.CA)
	if err != nil {
		return err
	}
	ex, err := exchange.Start(exchange.Options{
		Shape: shape, IssuerCA: issuer, Lifetime: time.Hour,
		Rule: exchange.Rule{
			Issuer: st.Issuer, Audience: exampleAudience, Subject: st.Subject,
			Parameters: map[string]string{"federation_rule_id": "fdrl_example", "organization_id": "org_example", "service_account_id": "svac_example"},
		},
	})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = ex.Close() })
	api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Shape(shape), Keyring: s.noted(ex.Keyring)})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = api.Close() })
	ca := filepath.Join(s.home, shape+".pem")
	if err := os.WriteFile(ca, append(api.CAPEM(), ex.CAPEM()...), 0o600); err != nil {
		return err
	}
	// Where tokens are exchanged is known for the real service alone.
	s.stands["federate "+shape+" --audience"] = "federate " + shape + " --url " + ex.URL() + " --audience"
	return s.must(fmt.Sprintf("agentkeys services set %s --base-url %s --ca %s --allow-address %s --allow-address %s", shape, api.URL(), ca, api.Addr(), ex.Addr()))
}

// free has an address of the document stand for one that nobody listens at.
func (s *session) free(address string) error {
	port, err := ports.Take(s.t.Cleanup)
	s.stands[address] = fmt.Sprint("127.0.0.1:", port)
	return err
}

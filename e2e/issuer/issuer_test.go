package issuer_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

// granted is what the client library makes of an answer to its grant request.
type granted struct {
	Token      string `json:"access_token"`
	TokenType  string `json:"token_type"`
	IssuedType string `json:"issued_token_type"`
	ExpiresIn  int    `json:"expires_in"`
}

// verified is what the JOSE library says of a token.
type verified struct {
	Header struct{ Alg, Kid, Typ string }
	Claims struct {
		Iss, Sub, Aud, Jti string
		Iat, Nbf, Exp      int64
		Wallet             string `json:"agentkeys_user_wallet"`
		Tags               struct {
			Principal  map[string][]string `json:"principal_tags"`
			Transitive []string            `json:"transitive_tag_keys"`
		} `json:"https://aws.amazon.com/tags"`
	}
}

func (d *device) mint(c *counterpart, audience string) string {
	d.r.t.Helper()
	var g granted
	c.do(d.asking(audience), &g)
	return g.Token
}

func (d *device) asking(audience string) ask {
	return ask{"do": "mint", "key": d.jwk(), "session": d.s.Token, "audience": audience, "skew": d.r.skew()}
}

// skew is how far the broker's clock is ahead, in seconds.
func (r *rig) skew() int64 { return int64(time.Until(r.now()).Round(time.Second) / time.Second) }

func (r *rig) verify(raw, audience string, at time.Time) ask {
	return ask{"do": "verify", "token": raw, "audience": audience, "at": at.Unix()}
}

func TestDiscovery(t *testing.T) {
	r := start(t, "")
	c := meet(t, r.origin, r.srv)
	var m struct {
		Issuer string
		Token  string   `json:"token_endpoint"`
		Keys   string   `json:"jwks_uri"`
		Algs   []string `json:"id_token_signing_alg_values_supported"`
		Proofs []string `json:"dpop_signing_alg_values_supported"`
		Grants []string `json:"grant_types_supported"`
	}
	c.do(ask{"do": "discover"}, &m)
	if m.Issuer != r.origin || m.Token != r.origin+brokerapi.PathToken || m.Keys != r.origin+brokerapi.PathKeys ||
		!slices.Equal(m.Algs, []string{"ES256", "RS256"}) || !slices.Equal(m.Proofs, []string{"ES256"}) || !slices.Equal(m.Grants, []string{brokerapi.GrantTokenExchange}) {
		t.Errorf("discovered %+v", m)
	}
	t.Run("a broker of another name", func(t *testing.T) {
		other := start(t, "https://broker.test")
		meet(t, "https://"+other.srv.Listener.Addr().String(), other.srv).refuses(ask{"do": "discover"}, "issuer")
	})
	t.Run("a certificate of nobody's", func(t *testing.T) {
		meet(t, r.origin, nil).refuses(ask{"do": "discover"}, "DEPTH_ZERO_SELF_SIGNED_CERT")
	})
}

// TestTokens has web-identity tokens asked for and verified by libraries.
func TestTokens(t *testing.T) {
	r := start(t, "")
	c := meet(t, r.origin, r.srv)
	d := r.login()
	for audience, alg := range map[string]string{brokertest.STS: "ES256", brokertest.Federation: "RS256"} {
		var g granted
		c.do(d.asking(audience), &g)
		if g.IssuedType != brokerapi.TypeJWT || !strings.EqualFold(g.TokenType, "N_A") || g.ExpiresIn != 300 {
			t.Errorf("granted %q %q for %d s", g.IssuedType, g.TokenType, g.ExpiresIn)
		}
		var v verified
		c.do(r.verify(g.Token, audience, r.now()), &v)
		w := d.s.Wallet.String()
		kid, _ := r.keys.Ring().Signing(token.Alg(alg), r.now())
		if v.Header.Alg != alg || v.Header.Typ != "JWT" || v.Header.Kid != kid {
			t.Errorf("%s: header %+v", audience, v.Header)
		}
		cl := v.Claims
		if cl.Iss != r.origin || cl.Aud != audience || !strings.HasSuffix(cl.Sub, w) || cl.Wallet != w || cl.Exp != cl.Iat+300 || cl.Nbf != cl.Iat || cl.Jti == "" ||
			len(cl.Tags.Principal) != 1 || !slices.Equal(cl.Tags.Principal["agentkeys_user_wallet"], []string{w}) || !slices.Equal(cl.Tags.Transitive, []string{"agentkeys_user_wallet"}) {
			t.Errorf("%s: claims %+v", audience, cl)
		}
		const signature, claim = "ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "ERR_JWT_CLAIM_VALIDATION_FAILED"
		head, rest, _ := strings.Cut(g.Token, ".")
		body, sig, _ := strings.Cut(rest, ".")
		c.refuses(r.verify(g.Token, "https://elsewhere.test", r.now()), claim+" aud")
		c.refuses(r.verify(g.Token, audience, r.now().Add(301*time.Second)), "ERR_JWT_EXPIRED exp")
		c.refuses(r.verify(g.Token, audience, r.now().Add(-time.Minute)), claim+" nbf")
		c.refuses(r.verify(head+"."+altered(body)+"."+sig, audience, r.now()), signature)
		c.refuses(r.verify(head+"."+body+"."+altered(sig), audience, r.now()), signature)
		// Its own header, and what another token has.
		other := strings.SplitN(d.mint(c, audience), ".", 3)
		c.refuses(r.verify(head+"."+other[1]+"."+sig, audience, r.now()), signature)
	}
	t.Run("other purposes", func(t *testing.T) {
		const typ = "ERR_JWT_CLAIM_VALIDATION_FAILED typ"
		c.refuses(r.verify(d.s.Token, r.origin, r.now()), typ)
		c.refuses(r.verify(d.mint(c, brokertest.SignerAudience), brokertest.SignerAudience, r.now()), typ)
	})
	t.Run("other issuers", func(t *testing.T) {
		identity := token.Identity{ID: token.NewID(), Wallet: d.s.Wallet, Audience: brokertest.STS, Expires: r.now().Add(2 * time.Minute)}
		for _, other := range []struct {
			issuer *token.Issuer
			why    string
		}{
			{&token.Issuer{Issuer: "https://other.test", Ring: r.keys.Ring}, "ERR_JWT_CLAIM_VALIDATION_FAILED iss"},
			{&token.Issuer{Issuer: r.origin, Ring: start(t, r.origin).keys.Ring}, "ERR_JWKS_NO_MATCHING_KEY"},
		} {
			raw, err := other.issuer.Identity(identity, token.ES256, r.now())
			if err != nil {
				t.Fatal(err)
			}
			c.refuses(r.verify(raw, brokertest.STS, r.now()), other.why)
		}
	})
}

// altered changes one character in the midst of base64url, to another that is
// as good an encoding.
func altered(s string) string {
	i := len(s) / 2
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// TestRotation: what the old and the new key sign holds while both are
// published, for those who fetch the keys again as well as for those who
// begin; what a key signed that is published no more, does not.
func TestRotation(t *testing.T) {
	for audience, alg := range map[string]token.Alg{brokertest.STS: token.ES256, brokertest.Federation: token.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			r := start(t, "")
			c := meet(t, r.origin, r.srv)
			kid := func(raw string, at time.Time, fresh bool) string {
				t.Helper()
				var v verified
				q := r.verify(raw, audience, at)
				q["fresh"] = fresh
				c.do(q, &v)
				return v.Header.Kid
			}
			old := r.login().mint(c, audience)
			first := r.now()
			oldKey := kid(old, first, false) // from here on the library keeps the keys

			r.rotate(alg, time.Hour)
			r.reload()
			if still := kid(r.login().mint(c, audience), r.now(), false); still != oldKey {
				t.Error("a new key signs before others could come to know it")
			}
			r.w.Clock.Move(time.Hour + 2*time.Second)
			young := r.login().mint(c, audience)
			second := r.now()
			for _, fresh := range []bool{false, true} {
				if newKey := kid(young, second, fresh); newKey == oldKey {
					t.Error("the new key does not sign")
				}
				if kid(old, first, fresh) != oldKey {
					t.Error("another key?")
				}
			}

			// As long as the old key's tokens may live, and not for ever.
			r.w.Clock.Move(longest - time.Minute)
			kid(old, first, true)
			r.w.Clock.Move(2 * time.Minute)
			gone := r.verify(old, audience, first)
			gone["fresh"] = true
			c.refuses(gone, "ERR_JWKS_NO_MATCHING_KEY")
			kid(young, second, true)
			removed, err := tokenkeys.Prune(r.dir, r.now(), longest)
			if err != nil || !slices.Equal(removed, []string{oldKey}) {
				t.Fatalf("pruned %v: %v, want %s", removed, err, oldKey)
			}
			r.reload()
			c.refuses(gone, "ERR_JWKS_NO_MATCHING_KEY")
			kid(young, second, true)
			kid(r.login().mint(c, audience), r.now(), true)
		})
	}
}

// TestProofs has libraries prove a device key to the broker, and judge the
// proofs and sessions that are ours.
func TestProofs(t *testing.T) {
	r := start(t, "")
	c := meet(t, r.origin, r.srv)
	d := r.login()

	t.Run("renewal", func(t *testing.T) {
		var a struct {
			Status int
			Body   brokerapi.Session
		}
		c.do(ask{"do": "renew", "key": d.jwk()}, &a)
		if a.Status != http.StatusOK || a.Body.Token == "" || a.Body.Token == d.s.Token || a.Body.Device != d.s.Device || a.Body.Wallet != d.s.Wallet {
			t.Fatalf("renewed with status %d: %+v", a.Status, a.Body)
		}
		again := &device{r, d.key, a.Body}
		c.do(r.verify(again.mint(c, brokertest.STS), brokertest.STS, r.now()), nil)

		stranger := &device{r: r, key: brokertest.NewKey(t)}
		var p struct {
			Status int
			Body   brokerapi.Problem
		}
		c.do(ask{"do": "renew", "key": stranger.jwk()}, &p)
		if p.Status != http.StatusUnauthorized || p.Body.Code != brokerapi.CodeDevice {
			t.Errorf("a stranger's key: %d %+v", p.Status, p.Body)
		}
	})
	t.Run("request", func(t *testing.T) {
		var a struct {
			Status int
			Body   []brokerapi.Device
		}
		c.do(ask{"do": "call", "key": d.jwk(), "session": d.s.Token, "method": "GET", "path": brokerapi.PathDevices}, &a)
		if a.Status != http.StatusOK || len(a.Body) != 1 {
			t.Errorf("status %d: %+v", a.Status, a.Body)
		}
	})
	t.Run("refused", func(t *testing.T) {
		thief := &device{r, brokertest.NewKey(t), d.s}
		c.refuses(thief.asking(brokertest.STS), "dpop invalid_dpop_proof")
		unbound := d.asking(brokertest.STS)
		unbound["unbound"] = true // as to an endpoint that takes no token
		c.refuses(unbound, "dpop invalid_dpop_proof")
		late := d.asking(brokertest.STS)
		late["skew"] = -3600
		c.refuses(late, "dpop invalid_dpop_proof")
		broken := &device{r, d.key, d.s}
		broken.s.Token = altered(d.s.Token)
		c.refuses(broken.asking(brokertest.STS), "dpop invalid_token")
		c.refuses(d.asking("https://elsewhere.test"), "OAUTH_RESPONSE_BODY_ERROR 400 invalid_target")
	})
	t.Run("ours", func(t *testing.T) {
		url := r.origin + brokerapi.PathToken
		proof := func(key *device, method, url, raw string, at time.Time) string {
			p, err := token.NewProof(key.key, method, url, raw, at)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		accept := func(proof string) ask {
			return ask{"do": "accept", "method": http.MethodPost, "url": url, "session": d.s.Token, "proof": proof}
		}
		var claims struct {
			Sub string
			Cnf struct{ JKT string }
		}
		c.do(accept(proof(d, http.MethodPost, url, d.s.Token, r.now())), &claims)
		if claims.Sub != d.s.Account || claims.Cnf.JKT != d.s.Device {
			t.Errorf("a session of %+v, want %s", claims, d.s.Account)
		}
		const differs = "OAUTH_JWT_CLAIM_COMPARISON_FAILED"
		c.refuses(accept(proof(d, http.MethodGet, url, d.s.Token, r.now())), differs)
		c.refuses(accept(proof(d, http.MethodPost, url+"/x", d.s.Token, r.now())), differs)
		c.refuses(accept(proof(d, http.MethodPost, url, "another", r.now())), differs)
		c.refuses(accept(proof(&device{r, brokertest.NewKey(t), d.s}, http.MethodPost, url, d.s.Token, r.now())), differs)
		c.refuses(accept(proof(d, http.MethodPost, url, d.s.Token, r.now().Add(-time.Hour))), "OAUTH_JWT_TIMESTAMP_CHECK_FAILED")
		c.refuses(accept(proof(d, http.MethodPost, url, "", r.now())), "ath")
	})
}

package sites

import (
	"crypto/rand"
	"html/template"
	"strings"
)

// plan is what sets one site apart from the others.
type plan struct {
	// hosts are those of its pages, the main one first.
	hosts []string
	// cookie is the name of the session's cookie, and domain the Domain that it
	// is for, "" for the host alone.
	cookie, domain string
	// scripted is a host that scripts of the main one may ask, with cookies; "":
	// there is none.
	scripted string
	// signIn is where somebody without an account's session is led, as a path on
	// the main host.
	signIn string
	// senders maps the domains that letters come from to nothing.
	senders map[string]struct{}
	looks   looks
	// newKey makes a key in the vendor's form.
	newKey func() string
	routes []route
	// api is the host of the API that the site plays itself, which is also what
	// answers to an IP address; apiBase the path that the catalogue's base URL
	// has. Empty: the keys are for testsrv.
	api, apiBase string
}

// looks are what the layout of a site's pages needs.
type looks struct {
	Name   string // of the service
	Accent template.CSS
	Ink    template.CSS // text on the accent
	Dark   bool
	Serif  bool
	Nav    []link // shown to who is signed in
}

type link struct{ Text, To string }

// route is one thing that a site answers.
type route struct {
	host string // "": the plan's main one
	on   string // pattern of http.ServeMux without a host, such as "POST /keys"
	// signedIn demands a session of an account: anybody else is led to the
	// plan's signIn.
	signedIn bool
	// open takes a request that changes something without a form token: for an
	// API and for frames of others. Everything else needs one.
	open bool
	do   func(*call) answer
}

// letters of keys and tokens.
const (
	lowerHex  = "0123456789abcdef"
	alnum     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	urlSafe   = alnum + "-_"
	digitsTen = "0123456789"
)

// random returns n characters of an alphabet.
func random(n int, alphabet string) string {
	var b strings.Builder
	for b.Len() < n {
		var draw [64]byte
		_, _ = rand.Read(draw[:]) // it never fails
		for _, c := range draw {
			// What is beyond the last whole alphabet would favour its beginning.
			if int(c) < 256/len(alphabet)*len(alphabet) && b.Len() < n {
				b.WriteByte(alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return b.String()
}

// senderDomains makes the set that plan.senders is.
func senderDomains(domains ...string) map[string]struct{} {
	set := map[string]struct{}{}
	for _, d := range domains {
		set[d] = struct{}{}
	}
	return set
}

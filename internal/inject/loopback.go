package inject

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Hosts are the names that a listener answers to. The zero Hosts answers to
// none.
type Hosts struct {
	any   bool
	names []string
}

// LoopbackHosts are the names of a TCP listener on a loopback address:
// 127.0.0.1, localhost and [::1], each with the listener's port and nothing
// else. A name that an attacker's DNS leads to 127.0.0.1 is not among them.
func LoopbackHosts(addr net.Addr) (Hosts, error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return Hosts{}, fmt.Errorf("listener %v is not on a loopback address", addr)
	}
	port := fmt.Sprintf(":%d", tcp.Port)
	return Hosts{names: []string{"127.0.0.1" + port, "localhost" + port, "[::1]" + port}}, nil
}

// SocketHosts is for unix sockets, where clients write what they like and no
// web page can reach.
func SocketHosts() Hosts { return Hosts{any: true} }

// Guard answers requests from web pages of other origins, and under names that
// the listener does not have, with 403, before next sees them. It grants no
// cross-origin access to anybody, so that preflights fail.
func (h Hosts) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pb := h.check(r); pb != nil {
			pb.render(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check holds the names that a browser cannot be made to falsify, Host and
// Origin, against the listener's own, and believes what else it says only to
// its disadvantage.
func (h Hosts) check(r *http.Request) *problem {
	if !h.any && !slices.Contains(h.names, r.Host) {
		return fault(codeForeignHost, "the Host header does not name this listener")
	}
	for _, v := range r.Header["Origin"] {
		if !h.own(v, r.Host) {
			return fault(codeForeignOrigin, "the request comes from a web page of another origin")
		}
	}
	for _, v := range r.Header["Referer"] {
		// The origin ends at the first slash after the scheme.
		if end := strings.IndexByte(strings.TrimPrefix(v, "http://"), '/'); end >= 0 && strings.HasPrefix(v, "http://") {
			v = v[:len("http://")+end]
		}
		if !h.own(v, r.Host) {
			return fault(codeForeignOrigin, "the request comes from a web page of another origin")
		}
	}
	for _, v := range r.Header["Sec-Fetch-Site"] {
		if v != "same-origin" && v != "none" {
			return fault(codeForeignOrigin, "the browser says that the request crosses sites")
		}
	}
	return nil
}

// own reports whether origin is the listener under the name it was asked by.
func (h Hosts) own(origin, host string) bool {
	rest, ok := strings.CutPrefix(origin, "http://")
	return ok && rest == host && host != ""
}

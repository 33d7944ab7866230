package brokerhttp

import "net/http"

// Pages are what a person sees in a browser (internal/broker/pages).
//
// ServeHTTP serves the static ones, GET and HEAD of what is under /login/:
// /login/mail, whose script posts the token of the fragment, #<login>.<token>,
// to brokerapi.PathLoginMail, and /login/passkey, whose script walks the
// ceremony of the login in its fragment, #<login>. Both end in a Handoff: with
// a loopback port the page goes to
// http://127.0.0.1:<port>/login?login=<login>&code=<code>, otherwise it shows
// the code. None of them may consume anything by being fetched.
type Pages interface {
	http.Handler
	// Code shows a code that the person is to type on the device, with status
	// 200.
	Code(w http.ResponseWriter, r *http.Request, code string)
	// Refused says that the login was refused or has ended, with the status.
	Refused(w http.ResponseWriter, r *http.Request, status int)
}

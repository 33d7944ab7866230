// Package broker owns who is who for many masters: accounts and how they log
// in, devices and their sessions, agents and their enrolment, grants and their
// revocation, and the tokens that are issued on the strength of all that. It
// owns the State contract, which is all that its replicas share.
//
// It must not depend on envelope, vault or signer: it cannot decrypt anything,
// and derives no wallet of its own.
package broker

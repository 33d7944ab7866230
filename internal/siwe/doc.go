// Package siwe is Sign-In with Ethereum, EIP-4361: the message that a person's
// own wallet signs to log in, and whether a signature is of it. It reads no
// clock, keeps nothing and opens no connection; package ethrpc beside it asks
// a node about wallets that are contracts.
//
// Laws:
//   - what Parse accepts, the grammar of EIP-4361 accepts, and it renders to
//     the same bytes again; where one meaning has several spellings in the
//     grammar (a zone of +00:00 aside, which is kept), only one is accepted
//   - Verify compares every field with what was asked for, and then the whole
//     text, so that a field this package does not know cannot be added
//   - of the two signatures that ECDSA has for each message and key, only the
//     one with the low s is accepted
package siwe

import "errors"

// What Verify may answer. A caller shows the reason to the person who signs:
// nothing in it is secret, and none echoes what was sent.
var (
	// ErrMessage is wrapped where the text is not a message of EIP-4361.
	ErrMessage = errors.New("not a sign-in message")
	// ErrRefused is wrapped where the message is not the one that was asked for,
	// or not now.
	ErrRefused = errors.New("the sign-in message is refused")
	// ErrSignature is wrapped where the signature is malformed or of somebody else.
	ErrSignature = errors.New("the signature is refused")
	// ErrUnavailable is wrapped where a contract would have to be asked and no
	// node answered: the login may be tried again.
	ErrUnavailable = errors.New("the node that knows contracts does not answer")
)

package broker

import (
	"errors"
	"fmt"
	"time"
)

// The outcomes a caller branches on, besides those of State and ErrUnavailable.
var (
	// ErrLogin: the login, link or code is unknown, ended, wrong or for another
	// device, and nobody is told which.
	ErrLogin = errors.New("the login was refused or has ended")
	// ErrSession: the session token is not good.
	ErrSession = errors.New("the session is not good")
	// ErrProof: the proof of the device key is not good, or was used before.
	ErrProof = errors.New("the proof of the device key is not good")
	// ErrDevice: no such device, or not any more.
	ErrDevice = errors.New("unknown device")
	// ErrForbidden: the caller's standing does not reach that far.
	ErrForbidden = errors.New("not for this caller")
	// ErrRequest: what is asked for makes no sense here; the text says why.
	ErrRequest      = errors.New("malformed request")
	ErrUnknownAgent = errors.New("no such agent")
	ErrAgentExists  = errors.New("agent exists already")
	ErrUnknownGrant = errors.New("no such grant")
	// ErrTaken: the device key belongs to somebody else already.
	ErrTaken = errors.New("the device key is in use otherwise")
	// ErrFull: there are as many as there may be.
	ErrFull = errors.New("there are too many")
	// ErrAudience: tokens are not issued for that audience.
	ErrAudience = errors.New("no such audience")
)

// LimitError says that something was asked for too often.
type LimitError struct {
	Wait time.Duration // until it may be asked for again
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("too many requests: wait %s", e.Wait.Round(time.Second))
}

// requestError explains ErrRequest.
func requestError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRequest, fmt.Sprintf(format, args...))
}

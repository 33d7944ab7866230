package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/remote"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

// serveChild is the background process: roots, or a device key, come in on one
// pipe, and one line about how the start went goes out on another.
func (a *app) serveChild(p local.Paths, o upOptions) error {
	// From the first moment on: the roots are about to be in this memory.
	daemon.Harden()
	in, out := os.NewFile(unlockedFD, "unlocked"), os.NewFile(readyFD, "ready")
	if in == nil || out == nil {
		return errors.New("the background process was not started by 'agentkeys up'")
	}
	a.stderr = newBoundedLog(os.Stderr, p.DaemonLog(), maxLog)
	tell := func(r ready) {
		_ = json.NewEncoder(out).Encode(r)
		_ = out.Close()
	}
	u, err := a.readUnlocked(p, in)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = a.serve(ctx, p, o, u, func() { tell(ready{OK: true}) })
	}
	if err == nil {
		return nil
	}
	pr := classify(explainBroker(err))
	tell(ready{
		Running: errors.Is(err, local.ErrRunning), Exit: pr.exit,
		Error: &control.Error{Code: pr.code, Problem: pr.Error(), Fix: pr.fix},
	})
	return err
}

func readRoots(in io.ReadCloser) (signer.Roots, error) {
	defer in.Close()
	text, err := secret.Read(in, 1<<16)
	if err != nil {
		return signer.Roots{}, err
	}
	defer text.Clear()
	return signer.DecodeRoots(text)
}

// readUnlocked reads what the parent has opened.
func (a *app) readUnlocked(p local.Paths, in io.ReadCloser) (u unlocked, err error) {
	if a.getenv(childVariable) != childOfLogin {
		u.roots, err = readRoots(in)
		return u, err
	}
	defer in.Close()
	seed, err := secret.Read(in, device.SeedSize)
	if err != nil {
		return u, err
	}
	if u.key, err = device.FromSeed(seed); err != nil {
		return u, err
	}
	if u.login, err = readProfile(p); err == nil && u.login == nil {
		err = errors.New("this machine was logged out meanwhile")
	}
	return u, err
}

func (a *app) serveForeground(ctx context.Context, p local.Paths, o upOptions, u unlocked) error {
	daemon.Harden()
	err := a.serve(ctx, p, o, u, func() {
		if st, err := control.NewClient(p.Control()).Status(ctx); err == nil {
			_ = a.reportUp(p, st, false, 0)
		}
	})
	return explainBroker(err)
}

// serve runs until ctx ends or the owner asks to stop.
func (a *app) serve(ctx context.Context, p local.Paths, o upOptions, u unlocked, started func()) error {
	log := slog.New(slog.NewTextHandler(a.stderr, nil))
	// net/http has no other logger for what a service sends without having
	// been asked, and quotes it: it may be the key.
	stdlog.SetOutput(io.Discard)
	opts := local.Options{
		Paths: p, Roots: u.roots, Port: o.port, Sockets: o.sockets, Idle: o.idle, Mail: o.mail, Log: log, Now: time.Now, Version: version,
	}
	if u.login != nil {
		defer u.key.Clear()
		b, err := remote.Open(ctx, brokerOptions(u.login.Issuer, u.key, log))
		if err != nil {
			return err
		}
		defer b.Close()
		if opts.Remote, err = b.Parts(); err != nil {
			return err
		}
		if opts.Remote.Wallet != u.login.Wallet || opts.Remote.Agent != u.login.Agent {
			return fmt.Errorf("%w: the broker has this machine as another wallet's", local.ErrLoggedOut)
		}
	}
	h, err := local.Open(opts)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var ln net.Listener
	if ln, err = daemon.ListenUnix(p.Control()); err != nil {
		return errors.Join(err, h.Close(ctx))
	}
	srv := control.NewServer(h, log, stop)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	log.Info("started", "pid", os.Getpid(), "version", version)
	// What opening needed is not needed again.
	debug.FreeOSMemory()
	started()

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, srv.Close(grace), h.Close(grace))
	log.Info("stopped", "err", err)
	return err
}

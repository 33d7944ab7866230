package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/servicelog"
)

// soakRate is how many tokens a second are asked for.
const soakRate = 400

// hello is how a broker of another process says where it is and how to ask it.
type hello struct {
	Addr    string            `json:"addr"`
	Key     []byte            `json:"key"` // a throw-away device's
	Session brokerapi.Session `json:"session"`
	Form    []byte            `json:"form"`
}

// playBroker serves a broker with its durable log until its standard input
// ends.
func playBroker(dir string) error {
	log, err := servicelog.Open(filepath.Join(dir, "audit"), "bench", time.Now)
	if err != nil {
		return err
	}
	defer log.Close()
	s, err := newStand(dir, log)
	if err != nil {
		return err
	}
	defer s.stop()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	key, err := s.key.Bytes()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(hello{ln.Addr().String(), key, s.session, s.form}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = ln.Close()
	}()
	if err := http.Serve(ln, s.handler); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// soak loads a broker for a while and watches its memory: whether it grows
// after the proofs of the last two minutes, which it remembers, have filled up.
func (b *bench) soak() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "-role", "broker", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	var h hello
	if err := json.NewDecoder(out).Decode(&h); err != nil {
		return fmt.Errorf("the broker ended: %w", err)
	}
	s := &stand{session: h.Session, form: h.Form}
	if s.key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), h.Key); err != nil {
		return err
	}

	const clients, samples = 16, 20
	var wg sync.WaitGroup
	var given atomic.Int64
	errs := make([]error, clients)
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			errs[i] = s.keepAsking("http://"+h.Addr, i, clients, began.Add(b.soakFor), &given)
		})
	}
	var sizes []float64
	for i := range samples {
		select {
		case <-time.After(time.Until(began.Add(b.soakFor * time.Duration(i+1) / samples))):
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
		size, err := resident(cmd.Process.Pid)
		if err != nil {
			return err
		}
		sizes = append(sizes, size)
		if i%4 == 3 {
			fmt.Fprintf(os.Stderr, "  after %v and %d tokens: %.1f MiB resident\n", time.Since(began).Round(time.Second), given.Load(), size)
		}
	}
	wg.Wait()
	goal := "–"
	if b.soakFor >= 10*time.Minute {
		goal = "≤ 1.1"
	}
	b.add(fmt.Sprintf("broker: resident after %v of load", b.soakFor), "MiB", "at 40 %", goal, sizes[samples-4:], sizes[samples/2-4:samples/2])
	return errors.Join(errs...)
}

// keepAsking asks for a token over one connection at each of its turns.
func (s *stand) keepAsking(base string, turn, clients int, end time.Time, given *atomic.Int64) error {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	const each = time.Second / soakRate
	for at := time.Now().Add(each * time.Duration(turn)); at.Before(end); at = at.Add(each * time.Duration(clients)) {
		time.Sleep(time.Until(at))
		proof, err := s.proof()
		if err != nil {
			return err
		}
		r, err := http.NewRequest(http.MethodPost, base+brokerapi.PathToken, bytes.NewReader(s.form))
		if err != nil {
			return err
		}
		r.Header = s.header(proof)
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return errors.Join(err, fmt.Errorf("a token was refused: %s: %.300s", resp.Status, text))
		}
		given.Add(1)
	}
	return nil
}

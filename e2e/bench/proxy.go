package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// rival is one way to the upstream.
type rival struct {
	name, url, key string
	pids           []int
}

const prompt = `{"model":"some/model","messages":[{"role":"user","content":"hello"}]}`

// stage starts the upstream and everything that stands before it.
func (b *bench) stage() (rivals []rival, direct string, stop func(), err error) {
	var stops []func()
	stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return nil, "", stop, err
	}
	stops = append(stops, func() { _ = os.RemoveAll(dir) })
	up, err := b.part("upstream")
	if err != nil {
		return nil, "", stop, err
	}
	stops = append(stops, up.stop)
	floor, err := b.part("floor", up.addr)
	if err != nil {
		return nil, "", stop, err
	}
	stops = append(stops, floor.stop)
	exe, err := b.build(dir, "agentkeys", "./cmd/agentkeys")
	if err != nil {
		return nil, "", stop, err
	}
	s, err := startServed(exe, dir)
	if err != nil {
		return nil, "", stop, err
	}
	stops = append(stops, s.stop)
	url, key, err := s.lend(up.addr)
	if err != nil {
		return nil, "", stop, err
	}
	const path = "/chat/completions"
	rivals = []rival{
		{"agentkeys", url + path, key, []int{s.pid}},
		{"floor", "http://" + floor.addr + "/api/v1" + path, "x", floor.pids},
	}
	for _, tuned := range []bool{false, true} {
		n, err := startNginx(dir, up.addr, tuned)
		if errors.Is(err, errNoNginx) {
			fmt.Fprintln(os.Stderr, "nginx is not installed: left out")
			break
		}
		if err != nil {
			return nil, "", stop, err
		}
		stops = append(stops, n.stop)
		name := "nginx by hand"
		if tuned {
			name = "nginx tuned"
		}
		rivals = append(rivals, rival{name, "http://" + n.addr + "/api/v1" + path, "x", n.pids})
	}
	return rivals, "http://" + up.addr + "/api/v1" + path, stop, nil
}

// load is what one measurement of a rival found.
type load struct{ perSecond, cpu, p50, p99 float64 }

func (b *bench) proxy() error {
	rivals, direct, stop, err := b.stage()
	if err != nil {
		return err
	}
	defer stop()
	many, one := map[string][]load{}, map[string][]load{}
	var bare []float64
	for range b.rounds {
		d, err := b.load(rival{url: direct, key: "x"}, 1)
		if err != nil {
			return err
		}
		bare = append(bare, d.p50)
		for _, r := range rivals {
			l16, err := b.load(r, 16)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			l1, err := b.load(r, 1)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			many[r.name], one[r.name] = append(many[r.name], l16), append(one[r.name], l1)
		}
	}
	pick := func(ls []load, f func(load) float64) (out []float64) {
		for _, l := range ls {
			out = append(out, f(l))
		}
		return out
	}
	for _, r := range rivals[1:] {
		cpuGoal, rateGoal := "–", "≥ 1.5"
		switch r.name {
		case "floor":
			cpuGoal, rateGoal = "≤ 1.10", "≥ 0.95"
		case "nginx tuned":
			rateGoal = "–"
		}
		us := many["agentkeys"]
		b.add("proxy: CPU a request, 16 connections", "µs", r.name, cpuGoal, pick(us, func(l load) float64 { return l.cpu }), pick(many[r.name], func(l load) float64 { return l.cpu }))
		b.add("proxy: requests, 16 connections", "/s", r.name, rateGoal, pick(us, func(l load) float64 { return l.perSecond }), pick(many[r.name], func(l load) float64 { return l.perSecond }))
	}
	added := func(name string) (out []float64) {
		for i, l := range one[name] {
			out = append(out, l.p50-bare[i])
		}
		return out
	}
	b.add("proxy: p50 added, 1 connection", "µs", "floor", "≤ 1.15", added("agentkeys"), added("floor"))
	p99 := func(l load) float64 { return l.p99 }
	b.add("proxy: p99, 1 connection", "µs", "floor", "≤ 1.3", pick(one["agentkeys"], p99), pick(one["floor"], p99))
	return nil
}

// load sends requests over n connections, each as soon as the last is
// answered, with a client as lean as can be, since it shares the machine.
func (b *bench) load(r rival, n int) (load, error) {
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	errs := make([]error, n)
	host := strings.SplitN(strings.TrimPrefix(r.url, "http://"), "/", 2)
	request := fmt.Appendf(nil, "POST /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host[1], host[0], r.key, len(prompt), prompt)
	before, began := cpu(r.pids...), time.Now()
	end := began.Add(b.span)
	for i := range n {
		wg.Go(func() {
			took, err := pump(host[0], request, end)
			errs[i] = err
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	l := load{perSecond: float64(len(all)) / time.Since(began).Seconds()}
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return l, errors.Join(err, errors.New("no answers"))
	}
	l.cpu = (cpu(r.pids...) - before) / float64(len(all))
	l.p50, l.p99 = percentile(all, 0.5), percentile(all, 0.99)
	return l, nil
}

func pump(addr string, request []byte, end time.Time) (took []time.Duration, err error) {
	conn, err := net.Dial("tcp4", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	br := bufio.NewReader(conn)
	for time.Now().Before(end) {
		began := time.Now()
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return took, err
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return took, err
		}
		if resp.StatusCode != 200 || !bytes.Equal(got, body) {
			return took, fmt.Errorf("answered %s: %.200s", resp.Status, got)
		}
		if resp.Close { // nginx by hand ends each upstream connection, not ours
			return took, errors.New("the connection was closed")
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// stream measures how long after it was written an event of a stream arrives.
func (b *bench) stream() error {
	rivals, _, stop, err := b.stage()
	if err != nil {
		return err
	}
	defer stop()
	delay, first := map[string][]float64{}, map[string][]float64{}
	for range b.rounds {
		for _, r := range rivals {
			d, f, err := b.streams(r)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			delay[r.name], first[r.name] = append(delay[r.name], d), append(first[r.name], f)
		}
	}
	for _, r := range rivals[1:] {
		goal := "–"
		if r.name == "floor" {
			goal = "≤ 1.2"
		}
		b.add("stream: delay of an event, p50", "µs", r.name, goal, delay["agentkeys"], delay[r.name])
		b.add("stream: first event, p50", "µs", r.name, goal, first["agentkeys"], first[r.name])
	}
	return nil
}

func (b *bench) streams(r rival) (delay, first float64, err error) {
	var delays, firsts []time.Duration
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(b.span); time.Now().Before(end); {
		req, err := http.NewRequestWithContext(b.ctx, "POST", r.url, strings.NewReader(prompt))
		if err != nil {
			return 0, 0, err
		}
		req.Header.Set("Authorization", "Bearer "+r.key)
		req.Header.Set("X-Stream", "1")
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return 0, 0, err
		}
		sc := bufio.NewScanner(resp.Body)
		got := 0
		for sc.Scan() {
			var n int
			var at int64
			if _, err := fmt.Sscanf(sc.Text(), `data: {"n":%d,"at":%d}`, &n, &at); err != nil {
				continue
			}
			if got == 0 {
				firsts = append(firsts, time.Since(began))
			}
			got++
			delays = append(delays, time.Duration(time.Now().UnixNano()-at))
		}
		_ = resp.Body.Close()
		if got != events {
			return 0, 0, fmt.Errorf("%d of %d events: %s", got, events, resp.Status)
		}
	}
	return percentile(delays, 0.5), percentile(firsts, 0.5), nil
}

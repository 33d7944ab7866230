package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/testsrv/lambda"
)

// function is the mail router's bootstrap as it is delivered, as a process at a
// Runtime API.
type function struct {
	cmd *exec.Cmd
	api *lambda.Runtime
	log lines
}

// lines counts what is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (b *bench) buildFunction(dir string) (string, error) {
	return b.build(dir, "bootstrap", "./cmd/mailrouter", "-tags", "lambda.norpc")
}

// startFunction starts it with objects at addr.
func startFunction(exe, addr string) (*function, error) {
	api, err := lambda.Start()
	if err != nil {
		return nil, err
	}
	f := &function{cmd: exec.Command(exe), api: api}
	f.cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + api.Addr, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example",
		"AGENTKEYS_BUCKET=" + mailBucket, "AGENTKEYS_MAIL_DOMAINS=" + mailstoretest.Domain, "AGENTKEYS_MAIL_TAGS=" + mailstoretest.Tag,
		"AGENTKEYS_WALLET_MESSAGES_PER_HOUR=1000000000", "AGENTKEYS_SENDER_MESSAGES_PER_HOUR=1000000000", "AGENTKEYS_S3_ENDPOINT=http://" + addr,
	}
	f.cmd.Stdout, f.cmd.Stderr = &f.log, os.Stderr
	if err := f.cmd.Start(); err != nil {
		api.Close()
		return nil, err
	}
	return f, nil
}

func (f *function) stop() {
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
	f.api.Close()
}

// invoke hands a batch over, which has to be done whole.
func (f *function) invoke(b *bench, batch []byte) error {
	out, err := f.api.Invoke(b.ctx, batch, time.Minute)
	if err == nil && string(out) != `{"batchItemFailures":[]}` {
		err = fmt.Errorf("the function answered %.300s", out)
	}
	return err
}

// batch is an event of ten messages of a queue, each of them S3's notification
// of one message.
func batch(ids ...string) ([]byte, error) {
	type object = map[string]any
	var all []object
	for n := range 10 {
		key := "inbound/" + ids[n%len(ids)]
		body, err := json.Marshal(object{"Records": []object{{
			"eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1", "eventTime": "2026-11-22T10:00:00.000Z", "eventName": "ObjectCreated:Put",
			"userIdentity": object{"principalId": "AWS:AROAEXAMPLE:ses"}, "requestParameters": object{"sourceIPAddress": "192.0.2.1"},
			"responseElements": object{"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": strings.Repeat("x", 76)},
			"s3": object{
				"s3SchemaVersion": "1.0", "configurationId": "agentkeys-inbound",
				"bucket": object{"name": mailBucket, "ownerIdentity": object{"principalId": "A3EXAMPLE"}, "arn": "arn:aws:s3:::" + mailBucket},
				"object": object{"key": key, "size": 12345, "eTag": strings.Repeat("0", 32), "sequencer": "0055AED6DCD90281E5"},
			},
		}}})
		if err != nil {
			return nil, err
		}
		all = append(all, object{
			"messageId": fmt.Sprintf("19dd0b57-b21e-4ac1-bd88-01bbb068cb%02d", n), "receiptHandle": strings.Repeat("x", 180), "body": string(body),
			"attributes":     object{"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183", "SenderId": "AIDAEXAMPLE", "ApproximateFirstReceiveTimestamp": "1545082649185"},
			"eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:agentkeys-mail", "eventSource": "aws:sqs", "awsRegion": "eu-central-1",
		})
	}
	return json.Marshal(object{"Records": all})
}

// peak is the largest resident memory that a process has had, in MiB.
func peak(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(data), "VmHWM:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("no peak of the memory")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib / 1024, err
}

// mailFunction hands batches to the function: what a message takes there with
// everything around it, and whether large ones take more memory.
func (b *bench) mailFunction() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	exe, err := b.buildFunction(dir)
	if err != nil {
		return err
	}
	up, err := b.part("s3")
	if err != nil {
		return err
	}
	defer up.stop()
	hand := newByHand(up.addr)
	var mix []string
	for _, m := range mixture("mix", false) {
		mix = append(mix, m.ID)
	}
	sizes := sized()
	small, large := []string{sizes[2].ID}, []string{sizes[3].ID}
	var ours, theirs, peaks [2][]float64 // of the processor, of the wall clock, and of the memory
	for range b.rounds {
		for i, ids := range [][]string{large, small} {
			f, err := startFunction(exe, up.addr)
			if err != nil {
				return err
			}
			_, err = b.batches(f, ids, b.span/8)
			size, sizeErr := peak(f.cmd.Process.Pid)
			f.stop()
			if err = errors.Join(err, sizeErr); err != nil {
				return err
			}
			peaks[i] = append(peaks[i], size)
		}
	}
	b.add("mail: function's peak memory, 30 MiB", "MiB", "1 MiB", "≤ 1.1", peaks[0], peaks[1])

	f, err := startFunction(exe, up.addr)
	if err != nil {
		return err
	}
	defer f.stop()
	if _, err := b.batches(f, mix, b.span/16); err != nil { // connections, and what is made once
		return err
	}
	for range b.rounds {
		var used, wall, done [2]float64
		for range 4 {
			before, began := cpu(f.cmd.Process.Pid), time.Now()
			n, err := b.batches(f, mix, b.span/16)
			if err != nil {
				return err
			}
			used[0], wall[0], done[0] = used[0]+cpu(f.cmd.Process.Pid)-before, wall[0]+time.Since(began).Seconds(), done[0]+n
			before, began = cpu(os.Getpid()), time.Now()
			for time.Since(began) < b.span/16 {
				if err := hand.route(mix[int(done[1])%len(mix)]); err != nil {
					return err
				}
				done[1]++
			}
			used[1], wall[1] = used[1]+cpu(os.Getpid())-before, wall[1]+time.Since(began).Seconds()
		}
		ours[0], theirs[0] = append(ours[0], used[0]/done[0]), append(theirs[0], used[1]/done[1])
		ours[1], theirs[1] = append(ours[1], done[0]/wall[0]), append(theirs[1], done[1]/wall[1])
	}
	b.add("mail: CPU a message, function, batches of 10", "µs", "2 by hand", "–", ours[0], theirs[0])
	b.add("mail: messages, function, batches of 10", "/s", "2 by hand", "–", ours[1], theirs[1])
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	all := f.log.b.Bytes()
	audit, metrics := bytes.Count(all, []byte(`"op":"mail.route"`)), bytes.Count(all, []byte(`{"_aws"`))
	var size int
	for l := range bytes.Lines(all) {
		if bytes.HasPrefix(l, []byte(`{"_aws"`)) {
			size += len(l)
		}
	}
	fmt.Fprintf(os.Stderr, "  the function's log: %d bytes a message, %d a batch\n", (len(all)-size)/max(audit, 1), size/max(metrics, 1))
	return nil
}

// batches invokes f for a span and returns how many messages that were.
func (b *bench) batches(f *function, ids []string, span time.Duration) (float64, error) {
	n := 0
	for began := time.Now(); n == 0 || time.Since(began) < span; n += 10 {
		var ten []string
		for i := range 10 {
			ten = append(ten, ids[(n+i)%len(ids)])
		}
		event, err := batch(ten...)
		if err != nil {
			return 0, err
		}
		if err := f.invoke(b, event); err != nil {
			return 0, err
		}
	}
	return float64(n), nil
}

// mailStart compares a cold start, as far as it is this program's, with that
// of an empty one: from the start of the process to the answer to a first event,
// in which there is no mail; of the empty one to its end.
func (b *bench) mailStart() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	exe, err := b.buildFunction(dir)
	if err != nil {
		return err
	}
	src := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return err
	}
	empty, err := b.build(dir, "empty", src)
	if err != nil {
		return err
	}
	const each = 10
	var walls, cpus [2][]float64
	for range b.rounds * 2 {
		var wall, used [2]float64
		for range each {
			began := time.Now()
			f, err := startFunction(exe, "127.0.0.1:1")
			if err != nil {
				return err
			}
			_, err = f.api.Invoke(b.ctx, []byte(`{"Records":[]}`), time.Minute)
			wall[0] += time.Since(began).Seconds() * 1e3 / each
			f.stop()
			if err != nil {
				return err
			}
			used[0] += processor(f.cmd.ProcessState) / each
			cmd := exec.Command(empty)
			began = time.Now()
			if err := cmd.Run(); err != nil {
				return err
			}
			wall[1] += time.Since(began).Seconds() * 1e3 / each
			used[1] += processor(cmd.ProcessState) / each
		}
		for i := range wall {
			walls[i], cpus[i] = append(walls[i], wall[i]), append(cpus[i], used[i])
		}
	}
	b.add("mail: function's start to its first answer", "ms", "empty program", "–", walls[0], walls[1])
	b.add("mail: CPU of that", "ms", "empty program", "–", cpus[0], cpus[1])
	return nil
}

// processor is what a process has used, in ms.
func processor(s *os.ProcessState) float64 {
	return (s.UserTime() + s.SystemTime()).Seconds() * 1e3
}

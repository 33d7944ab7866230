package daemon

import (
	"encoding/json"
	"maps"
	"os"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable"
)

// Runs is which processes are `agentkeys run`, each for which agent, so that
// what descends from one is known as that agent's on any socket. It survives a
// restart of the background process in a file. What it cannot know is the
// offspring of a run that was killed outright.
type Runs struct {
	path string

	mu   sync.Mutex
	runs map[int]run
}

type run struct {
	Start string          `json:"start"` // tells the process from a later one of the same number
	Agent agentkeys.Agent `json:"agent"`
}

// OpenRuns reads the file at path. One that is missing or damaged is empty:
// every run renews its session, and is known again within a minute.
func OpenRuns(path string) *Runs {
	r := &Runs{path: path, runs: map[int]run{}}
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &r.runs) != nil {
		r.runs = map[int]run{}
	}
	return r
}

// Add notes that pid runs an agent.
func (r *Runs) Add(pid int, a agentkeys.Agent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := run{Started(pid), a}
	if r.runs[pid] == now {
		return
	}
	r.runs[pid] = now
	r.save()
}

// Remove notes that pid runs no agent any more.
func (r *Runs) Remove(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.runs[pid]; ok {
		delete(r.runs, pid)
		r.save()
	}
}

// Len is the number of runs.
func (r *Runs) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.runs)
}

// Of returns the agent whose process pid is: itself if pid is the run, and not
// what it runs. ok is false for whoever descends from no run.
func (r *Runs) Of(pid int) (a agentkeys.Agent, itself, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune()
	if at, is := r.runs[pid]; is {
		return at.Agent, true, true
	}
	for root, at := range r.runs {
		if Descends(pid, map[int]bool{root: true}) {
			return at.Agent, false, true
		}
	}
	return agentkeys.Agent{}, false, false
}

// Close removes the file if nothing runs.
func (r *Runs) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune()
	if len(r.runs) == 0 {
		_ = os.Remove(r.path)
	}
}

// prune forgets runs that are gone; mu is held.
func (r *Runs) prune() {
	before := len(r.runs)
	maps.DeleteFunc(r.runs, func(pid int, at run) bool { return Started(pid) != at.Start })
	if len(r.runs) != before {
		r.save()
	}
}

// save is best effort: see OpenRuns.
func (r *Runs) save() {
	if data, err := json.Marshal(r.runs); err == nil {
		_ = durable.WriteFile(r.path, data)
	}
}

package sites

import "time"

// Work is the time that a handler of a Site took, posting letters and being
// held by a test included.
type Work struct{ From, To time.Time }

// maxWork is how many are kept.
const maxWork = 20_000

// Busy returns what the Site's handlers have done so far, in the order in which
// they ended.
func (s *Site) Busy() []Work {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Work(nil), s.work...)
}

// worked notes that a handler has ended.
func (s *Site) worked(from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.work) < maxWork {
		s.work = append(s.work, Work{from, time.Now()})
	}
}

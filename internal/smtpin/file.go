package smtpin

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/litentry/agentkeys/internal/mailhead"
)

var errNoSpace = reply(452, "4.3.1", "there is no room for the message now")

// file is a message that has come in whole, in a file without a name: it goes
// with the process, however that ends.
type file struct {
	f      *os.File
	size   int64
	head   []byte  // the header, with its empty line if there is one
	fields []field // of head
	odd    bool    // head has a line that is neither a field nor a continuation
	copied int     // what joining its lines one by one would copy, in bytes
	spaces int     // the longest run of blank lines and spaces, in bytes
}

// field is one of a header as a verifier of DKIM sees it: lines up to the next
// that does not begin with a space, whatever else they are.
type field struct{ name, value string }

func (f *file) reader() io.Reader { return io.NewSectionReader(f.f, 0, f.size) }

func (f *file) Close() error { return f.f.Close() }

// receive reads a message to its end.
func (s *Server) receive(r io.Reader) (_ *file, err error) {
	// 0600. By this name durable.Sweep knows what a kill has left, should one
	// come before the next line.
	tmp, err := os.CreateTemp(s.c.TempDir, ".tmp-smtpin-")
	if err != nil {
		return nil, storage(err)
	}
	if err := os.Remove(tmp.Name()); err != nil {
		_ = tmp.Close()
		return nil, storage(err)
	}
	f := &file{f: tmp}
	defer func() {
		if err != nil {
			_ = tmp.Close()
		}
	}()
	in := incoming{file: f, s: s}
	buf := make([]byte, 32<<10)
	for {
		n, rerr := r.Read(buf)
		if err := in.scan(buf[:n]); err != nil {
			return nil, err
		}
		if _, err := tmp.Write(buf[:n]); err != nil {
			return nil, storage(err)
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return nil, rerr
		}
	}
	if in.cr {
		return nil, errLoneCRLF
	}
	return f, in.parse()
}

// storage keeps of an error what the sender is told by, without its path.
func storage(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errNoSpace
	}
	return errors.New("the temporary file failed")
}

// incoming looks at a message as it comes by. For BDAT it is the only one that
// looks at lines; after DATA, wire has done so before dots were taken away.
type incoming struct {
	*file
	s      *Server
	cr     bool
	line   int // bytes of it
	lines  int // of the header
	spaces int // as they run now
	body   bool
}

func (in *incoming) scan(b []byte) error {
	l := &in.s.c.Limits
	in.size += int64(len(b))
	if in.size > in.s.c.MaxMessage {
		return reply(552, "5.3.4", "the message is too large")
	}
	end := -1 // where in b the header ends
	for i, c := range b {
		if in.cr != (c == '\n') {
			return errLoneCRLF
		}
		in.cr = c == '\r'
		if in.line++; in.line > l.Line {
			return errLongLine
		}
		switch c {
		case '\n':
			if !in.body && end < 0 {
				if in.line == 2 {
					end = i + 1
				} else if in.lines++; in.lines > l.Lines {
					return reply(554, "5.6.0", "the header has too many lines")
				}
			}
			in.line = 0
			in.spaces++
		case '\r', ' ', '\t':
			in.spaces++
		default:
			in.file.spaces = max(in.file.spaces, in.spaces)
			in.spaces = 0
		}
	}
	in.file.spaces = max(in.file.spaces, in.spaces)
	if in.body {
		return nil
	}
	if end >= 0 {
		in.head, in.body = bytes.Clone(append(in.head, b[:end]...)), true
	} else {
		in.head = append(in.head, b...)
	}
	if len(in.head) > l.Header {
		return reply(552, "5.3.4", "the header is too large")
	}
	return nil
}

// parse takes the header apart, and refuses those that nobody sends.
func (in *incoming) parse() error {
	if len(in.head) > 0 && (in.head[0] == ' ' || in.head[0] == '\t') {
		// Below ours it would continue the last field of the stamped block.
		return reply(554, "5.6.0", "the header begins with a continuation")
	}
	received := 0
	// Values are parts of one string: to join the lines of a field one by one
	// takes as long as the square of their number.
	head, start, value, next := string(in.head), 0, 0, 0
	for at := 0; at < len(head); at = next {
		end := len(head)
		next = end
		if n := strings.Index(head[at:], "\r\n"); n >= 0 {
			end = at + n
			next = end + 2
		}
		if end == at {
			break
		}
		if head[at] == ' ' || head[at] == '\t' {
			in.fields[len(in.fields)-1].value = head[value:end]
			in.copied += end - start
			continue
		}
		name, _, ok := strings.Cut(head[at:end], ":")
		if start, value = at, end; ok {
			value = at + len(name) + 1
		}
		name = strings.TrimSpace(name)
		_, colon := mailhead.FieldName(in.head[at:end])
		in.odd = in.odd || colon == 0
		in.fields = append(in.fields, field{name, head[value:end]})
		if strings.EqualFold(name, "Received") {
			received++
		}
	}
	switch {
	case len(in.fields) > in.s.c.Limits.Fields:
		return reply(554, "5.6.0", "the header has too many fields")
	case received > maxReceived:
		return reply(554, "5.4.6", "the message goes round in circles")
	}
	return nil
}

// named returns the values of the fields of a name.
func (f *file) named(name string) (values []string) {
	for _, x := range f.fields {
		if strings.EqualFold(x.name, name) {
			values = append(values, x.value)
		}
	}
	return values
}

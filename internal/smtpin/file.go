package smtpin

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
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
	spaces int     // the longest run of blank lines and spaces, in bytes
}

// field is one of a header as a verifier of DKIM sees it: lines up to the next
// that does not begin with a space, whatever else they are.
type field struct{ name, value string }

func (f *file) reader() io.Reader { return io.NewSectionReader(f.f, 0, f.size) }

func (f *file) Close() error { return f.f.Close() }

// receive reads a message to its end.
func (s *Server) receive(r io.Reader) (_ *file, err error) {
	tmp, err := os.CreateTemp(s.c.TempDir, ".smtpin-") // 0600
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
	line   int
	spaces int // as they run now
	body   bool
}

func (in *incoming) scan(b []byte) error {
	l := &in.s.c.Limits
	in.size += int64(len(b))
	if in.size > in.s.c.MaxMessage {
		return reply(552, "5.3.4", "the message is too large")
	}
	for _, c := range b {
		if in.cr != (c == '\n') {
			return errLoneCRLF
		}
		in.cr = c == '\r'
		if in.line++; in.line > l.Line {
			return errLongLine
		}
		switch c {
		case '\n':
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
	from := max(len(in.head)-3, 0)
	in.head = append(in.head, b...)
	end := -1
	if bytes.HasPrefix(in.head, []byte("\r\n")) {
		end = 2
	} else if i := bytes.Index(in.head[from:], []byte("\r\n\r\n")); i >= 0 {
		end = from + i + 4
	}
	if end >= 0 {
		in.head, in.body = bytes.Clone(in.head[:end]), true
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
	for line := range strings.Lines(string(in.head)) {
		line = strings.TrimSuffix(line, "\r\n")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			last := &in.fields[len(in.fields)-1]
			last.value += "\r\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		in.odd = in.odd || !ok || name == "" || strings.ContainsAny(name, " \t")
		in.fields = append(in.fields, field{name, value})
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

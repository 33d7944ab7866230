// Package conf reads the configuration files of services, and complains so that
// an operator can act on it: which setting, its value, what is wrong with it,
// what to write instead. All faults are found in one go.
package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/secret"
)

// ErrConfig is every complaint about a configuration file.
var ErrConfig = errors.New("the configuration cannot be used")

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Fault is one setting that cannot be used.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1; 0: nowhere
	Setting string `json:"setting,omitempty"`
	Value   string `json:"value,omitempty"`
	Cause   string `json:"cause"`
	Cure    string `json:"cure,omitempty"`
}

func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	if f.Setting != "" {
		b.WriteString(f.Setting)
		if f.Value != "" {
			fmt.Fprintf(&b, " = %q", f.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Cause)
	if f.Cure != "" {
		b.WriteString("; " + f.Cure)
	}
	return b.String()
}

// Faults are all that is wrong with one file.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes every Faults an ErrConfig.
func (f Faults) Unwrap() error { return ErrConfig }

// File is a configuration file that has been read, and what is wrong with it.
type File struct {
	path   string
	dir    string
	root   yaml.Node
	faults Faults
}

// Read decodes the YAML file at path into v. Unknown and repeated settings,
// further documents, aliases and merges are faults. The settings' own checks
// are the caller's, who reports them with Fault and ends with Err.
func Read(path string, v any) (*File, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(ErrConfig, err)
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, errors.Join(ErrConfig, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrConfig, path, maxFile)
	}
	return parse(path, filepath.Dir(abs), data, v)
}

func parse(path, dir string, data []byte, v any) (*File, error) {
	f := &File{path: path, dir: dir}
	if err := yaml.Unmarshal(data, &f.root); err != nil {
		return nil, f.syntax(err)
	}
	if n := odd(&f.root); n != nil {
		return nil, Faults{{File: path, Line: n.Line, Cause: "anchors, aliases and merges are not used here", Cure: "write the value out"}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, Faults{{File: path, Cause: "the file is empty"}}
		}
		return nil, f.syntax(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, Faults{{File: path, Cause: "the file holds more than one document", Cure: "keep the first"}}
	}
	return f, nil
}

// odd returns a node that makes a file mean something else than it shows.
func odd(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Tag == "!!merge" {
		return n
	}
	for _, c := range n.Content {
		if o := odd(c); o != nil {
			return o
		}
	}
	return nil
}

// syntax turns the library's complaints into faults.
func (f *File) syntax(err error) error {
	texts := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var types *yaml.TypeError
	if errors.As(err, &types) {
		texts = types.Errors
	}
	var out Faults
	for _, text := range texts {
		x := Fault{File: f.path, Cause: text}
		var line int
		if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
			_, rest, _ := strings.Cut(text, ": ")
			x.Line, x.Cause = line, rest
		}
		switch {
		case strings.Contains(x.Cause, "not found in type"):
			name, _, _ := strings.Cut(strings.TrimPrefix(x.Cause, "field "), " ")
			x.Setting, x.Cause, x.Cure = name, "there is no such setting here", "see the reference of the file for those there are"
		case strings.Contains(x.Cause, "already defined"):
			x.Cause, x.Cure = "a setting stands twice: "+x.Cause, "keep one"
		}
		out = append(out, x)
	}
	return out
}

// Fault notes that a setting, as "tls.cert" or "logins.email.smtp.host",
// cannot be used. A secret is no value: leave it empty.
func (f *File) Fault(setting, value, cause, cure string) {
	f.faults = append(f.faults, Fault{File: f.path, Line: f.line(setting), Setting: setting, Value: value, Cause: cause, Cure: cure})
}

// Has reports whether a setting stands in the file.
func (f *File) Has(setting string) bool { return f.find(setting) != nil }

func (f *File) line(setting string) int {
	for setting != "" {
		if n := f.find(setting); n != nil {
			return n.Line
		}
		i := strings.LastIndexByte(setting, '.')
		if i < 0 {
			break
		}
		setting = setting[:i] // where it is missing from
	}
	return 0
}

// find returns the key of a setting.
func (f *File) find(setting string) *yaml.Node {
	if len(f.root.Content) == 0 {
		return nil
	}
	at, key := f.root.Content[0], (*yaml.Node)(nil)
	for _, name := range strings.Split(setting, ".") {
		name, _, _ = strings.Cut(name, "[")
		key = nil
		for i := 0; i+1 < len(at.Content) && at.Kind == yaml.MappingNode; i += 2 {
			if at.Content[i].Value == name {
				key, at = at.Content[i], at.Content[i+1]
				break
			}
		}
		if key == nil {
			return nil
		}
	}
	return key
}

// Err returns all faults in the order of the file, or nil.
func (f *File) Err() error {
	if len(f.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(f.faults, func(a, b Fault) int { return a.Line - b.Line })
	return f.faults
}

// Path is a path of a setting: a relative one starts where the file is.
func (f *File) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(f.dir, p)
}

// Need notes a setting that is missing, and reports whether it is there.
func (f *File) Need(setting, value, cure string) bool {
	if value == "" {
		f.Fault(setting, "", "it is missing", cure)
	}
	return value != ""
}

// Listen checks an address to listen on.
func (f *File) Listen(setting, value string) {
	host, port, err := net.SplitHostPort(value)
	if err != nil || port == "" || (host != "" && net.ParseIP(host) == nil) {
		f.Fault(setting, value, "it is not an address to listen on", "write IP:PORT, as 127.0.0.1:8443 or [::]:8443")
	}
}

// Origin checks that value is https://host[:port] and no more. Plain http is
// for loopback alone.
func (f *File) Origin(setting, value string) {
	u, err := url.Parse(value)
	if strings.Contains(value, "@") {
		value = "" // it may be a password that stands before it
	}
	cure := "write https://HOST or https://HOST:PORT, in lower case, without a slash at its end"
	switch {
	case err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || value != u.Scheme+"://"+u.Host || value != strings.ToLower(value):
		f.Fault(setting, value, "it is not an origin", cure)
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		f.Fault(setting, value, "its port is none", cure)
	case u.Scheme == "https":
	case u.Scheme == "http" && Loopback(u.Hostname()):
	default:
		f.Fault(setting, value, "it is not https", cure)
	}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// Loopback reports whether host names this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Readable refuses a file that cannot be read.
func (f *File) Readable(setting, path string) {
	in, err := os.Open(path)
	if err != nil {
		f.Fault(setting, path, "it cannot be read: "+err.Error(), "")
		return
	}
	_ = in.Close()
}

// Certificate makes the paths of a PEM certificate and of its key absolute. They
// must be readable, and the key by no stranger. setting is what holds the two,
// as cert and key.
func (f *File) Certificate(setting string, cert, key *string) {
	for _, s := range []struct {
		name string
		path *string
	}{{setting + ".cert", cert}, {setting + ".key", key}} {
		*s.path = f.Path(*s.path)
		if f.Need(s.name, *s.path, "name a PEM file") {
			f.Readable(s.name, *s.path)
		}
	}
	if fi, err := os.Stat(*key); err == nil && fi.Mode().Perm()&0o007 != 0 {
		f.Fault(setting+".key", *key, fmt.Sprintf("others may read it: its mode is %04o", fi.Mode().Perm()), "chmod o= "+*key+", and replace the key if somebody may have read it")
	}
}

// Secret reads the file that a setting names: one that only its owner can read,
// with one value in it and perhaps a line break.
func (f *File) Secret(setting, path string) secret.Value {
	path = f.Path(path)
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		f.Fault(setting, path, "it cannot be read: "+err.Error(), "write the secret into it, with mode 0600")
	case !fi.Mode().IsRegular():
		f.Fault(setting, path, "it is not a plain file", "name the file that holds the secret")
	case fi.Mode().Perm()&0o077 != 0:
		f.Fault(setting, path, fmt.Sprintf("others may read it: its mode is %04o", fi.Mode().Perm()), "chmod 600 "+path)
	default:
		in, err := os.Open(path)
		if err != nil {
			f.Fault(setting, path, "it cannot be read: "+err.Error(), "")
			return secret.Value{}
		}
		defer in.Close()
		v, err := secret.Read(in, 64<<10)
		line := bytes.TrimRight(v.Expose(), "\r\n")
		if err != nil || len(line) == 0 || bytes.ContainsAny(line, "\r\n") {
			f.Fault(setting, path, "it does not hold one line with the secret", "write the secret into it, with mode 0600")
			return secret.Value{}
		}
		return secret.New(line)
	}
	return secret.Value{}
}

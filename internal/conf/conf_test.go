package conf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/conf"
)

type settings struct {
	Origin string `yaml:"origin"`
	Listen string `yaml:"listen"`
	Mail   struct {
		Host     string `yaml:"host"`
		Password string `yaml:"password_file"`
	} `yaml:"mail"`
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broker.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFaultsOfTheFile(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"origin: x\norigin: y\n", "twice"},
		{"orgin: x\n", "broker.yaml:1: orgin: there is no such setting"},
		{"origin: x\nmail: {hots: x}\n", "broker.yaml:2: hots: there is no such setting"},
		{"origin: x\n---\norigin: y\n", "more than one document"},
		{"origin: &a x\nlisten: *a\n", "anchors"},
		{"", "empty"},
		{"origin: [x\n", "broker.yaml"},
		{"mail: 7\n", "broker.yaml:1"},
	} {
		var s settings
		_, err := conf.Read(write(t, c.text), &s)
		if !errors.Is(err, conf.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
	if _, err := conf.Read(filepath.Join(t.TempDir(), "none"), &settings{}); !errors.Is(err, conf.ErrConfig) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFaultsOfSettings(t *testing.T) {
	path := write(t, "origin: http://example.com\nlisten: host:80\nmail:\n  host: \"\"\n  password_file: pw\n")
	var s settings
	f, err := conf.Read(path, &s)
	if err != nil {
		t.Fatal(err)
	}
	f.Origin("origin", s.Origin)
	f.Listen("listen", s.Listen)
	f.Need("mail.host", s.Mail.Host, "name the server")
	f.Need("mail.from", "", "name the sender")
	f.Secret("mail.password_file", s.Mail.Password)
	if err := os.WriteFile(f.Path("pw"), []byte("canary-password\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.Secret("mail.password_file", s.Mail.Password)
	err = f.Err()
	for _, want := range []string{
		`broker.yaml:1: origin = "http://example.com": it is not https; write https://`,
		`broker.yaml:2: listen = "host:80"`, "broker.yaml:4: mail.host: it is missing; name the server",
		"broker.yaml:3: mail.from: it is missing", "broker.yaml:5: mail.password_file", "chmod 600 " + f.Path("pw"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Error("the secret is in the complaint")
	}
	if !f.Has("mail.host") || f.Has("mail.from") {
		t.Error("Has is wrong")
	}
}

func TestGoodSettings(t *testing.T) {
	for _, origin := range []string{"https://broker.example.com", "https://broker.example.com:8443", "http://127.0.0.1:80", "http://localhost:8080", "http://[::1]:80"} {
		var s settings
		f, err := conf.Read(write(t, "origin: \""+origin+"\"\nmail: {password_file: pw}\n"), &s)
		if err != nil {
			t.Fatal(err)
		}
		f.Origin("origin", s.Origin)
		f.Listen("listen", "[::]:8443")
		if err := os.WriteFile(f.Path("pw"), []byte("value\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		v := f.Secret("mail.password_file", s.Mail.Password)
		if err := f.Err(); err != nil || string(v.Expose()) != "value" {
			t.Errorf("%s: %v", origin, err)
		}
	}
	for _, origin := range []string{"https://x/", "https://x/p", "https://u@x", "https://u:canary@x", "https://u:canary%zz@x", "https://X", "x", "", "https://", "https://x?q", "http://10.0.0.1", "ftp://x", "https://x:", "https://x:99999", "https://x:0", "https://x:08"} {
		f, err := conf.Read(write(t, "listen: x"), &settings{})
		if err != nil {
			t.Fatal(err)
		}
		if f.Origin("origin", origin); f.Err() == nil {
			t.Errorf("%q is taken for an origin", origin)
		} else if strings.Contains(f.Err().Error(), "canary") {
			t.Errorf("a password is in the complaint: %v", f.Err())
		}
	}
}

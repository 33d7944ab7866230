package docs

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestServiceFiles makes and starts a broker and a signer, and looks whether
// every file that is there is documented, with its mode.
func TestServiceFiles(t *testing.T) {
	doc := read(t, "docs", "reference", "files.md")
	home := t.TempDir()
	passphrase := writeInto(t, home, "passphrase", "an obviously fake passphrase\n")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(program, "agentkeys"), args...)
		cmd.Env = []string{"HOME=" + home}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("agentkeys %v: %v\n%s", args, err, out)
		}
	}

	broker := filepath.Join(home, "broker")
	run("broker", "init", broker, "--origin", "http://127.0.0.1")
	serving(t, home, "broker", writeInto(t, broker, "broker.yaml", `
origin: http://127.0.0.1
listen: 127.0.0.1:0
keys: keys
audit: audit
state: {sqlite: state.db}
signer: {url: "https://signer.example.com", key_file: signer-client.key}
logins: {wallet: {}}
`))
	documented(t, broker, section(t, doc, "A broker"), 12)

	signer := filepath.Join(home, "signer")
	run("signer", "init", signer, "--host", "signer.example.com", "--broker", "https://broker.example.com", "--passphrase-file", passphrase)
	config := strings.Replace(readFrom(t, signer, "signer.yaml"), "0.0.0.0:443", "127.0.0.1:0", 1)
	config = strings.Replace(config, "127.0.0.1:9465", "127.0.0.1:0", 1)
	serving(t, home, "signer", writeInto(t, signer, "signer.yaml", config))
	documented(t, signer, section(t, doc, "A signer"), 6)
}

func readFrom(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// serving starts a service until the test ends, and waits for it to serve.
func serving(t *testing.T, home, command, config string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(program, "agentkeys"), command, "--config", config)
	cmd.Env = []string{"HOME=" + home}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	var said strings.Builder
	for in := bufio.NewScanner(errs); in.Scan(); {
		if said.WriteString(in.Text() + "\n"); strings.Contains(in.Text(), `"serving"`) {
			go func() {
				for in.Scan() { // so that it never waits for a reader
				}
			}()
			return
		}
	}
	t.Fatalf("agentkeys %s does not serve:\n%s", command, said.String())
}

// documented looks for each file of a directory in rows of mode and paths, in
// which <word> stands for a part of a name, and … for anything below.
func documented(t *testing.T, dir, doc string, least int) {
	t.Helper()
	type row struct {
		mode string
		path *regexp.Regexp
	}
	var rows []row
	for _, m := range regexp.MustCompile(`(?m)^\| (0[67]00) \| ([^|]+) \|`).FindAllStringSubmatch(doc, -1) {
		for _, p := range code.FindAllString(m[2], -1) {
			pattern := regexp.QuoteMeta(strings.Trim(p, "`"))
			pattern = strings.ReplaceAll(regexp.MustCompile(`<[a-z]+>`).ReplaceAllLiteralString(pattern, `[^/]+`), "…", ".+")
			rows = append(rows, row{m[1], regexp.MustCompile("^" + pattern + "$")})
		}
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // SQLite's files come and go
			}
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if fi.Mode().Perm() != 0o700 {
				t.Errorf("the directory %s is %#o", path, fi.Mode().Perm())
			}
			return nil
		}
		n++
		for _, r := range rows {
			if r.path.MatchString(name) {
				if fi.Mode().Perm() != 0o600 || r.mode != "0600" {
					t.Errorf("%s is %#o, and documented as %s", name, fi.Mode().Perm(), r.mode)
				}
				return nil
			}
		}
		t.Errorf("%s is not documented", name)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n < least {
		t.Errorf("only %d files below %s", n, dir)
	}
}

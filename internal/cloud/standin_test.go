package cloud

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/aws"
)

// startAWS starts a stand-in for AWS and connects to it as a person would be:
// by AWS's own settings.
func startAWS(t *testing.T, mail bool) (*aws.Server, *Cloud) {
	t.Helper()
	f, err := aws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	t.Setenv("AWS_ENDPOINT_URL", f.URL)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	conf := awsConfig()
	conf.Names.Broker = "arn:aws:iam::012345678901:user/admin" // so that verify can take the role
	if mail {
		conf = withMail(t, conf)
	}
	return f, reopen(t, conf)
}

func reopen(t *testing.T, conf Config) *Cloud {
	t.Helper()
	c, err := Open(t.Context(), conf, credentials.NewStaticCredentialsProvider(aws.AdminKey, "x", ""), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Pause, c.Tries = time.Millisecond, 5
	return c
}

// withMail adds a mail part.
func withMail(t *testing.T, conf Config) Config {
	t.Helper()
	conf.Names.Mail = cloudpolicy.Mail{Queue: "agentkeys-mail", DeadLetters: "agentkeys-mail-dead", Function: "agentkeys-router"}
	conf.Mail = &Mail{
		Domains: []string{"mail.example.com", "in.example.org"}, Tags: []string{"or", "hf"}, Package: writePackage(t, 0xb7), Architecture: "arm64", MemoryMB: 128, Seconds: 30,
		Batch: 10, Concurrency: 10, LogDays: 30, WalletPerHour: 120, SenderPerHour: 10_000, AlarmTopic: "arn:aws:sns:eu-central-1:012345678901:alarms", MailFrom: "bounce", DMARCReports: "dmarc@example.net",
	}
	return conf
}

// writePackage writes a zip with an ELF header for a machine (0xb7 is arm64,
// 0x3e amd64) and nothing behind it.
func writePackage(t *testing.T, machine uint16, more ...byte) string {
	t.Helper()
	return writeZip(t, program, 0o755, append(elfHeader(machine), more...))
}

func elfHeader(machine uint16) []byte {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(h[16:], 2)       // an executable
	binary.LittleEndian.PutUint16(h[18:], machine) // for it
	binary.LittleEndian.PutUint32(h[20:], 1)
	binary.LittleEndian.PutUint16(h[52:], 64)
	return h
}

func writeZip(t *testing.T, name string, mode os.FileMode, text []byte) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: name}
	h.SetMode(mode)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mailrouter.zip")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

package rig

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// mailPort is where the receiver listens.
const mailPort = "127.0.0.1:2525"

// ServeMail starts the receiver of MailDomain, which puts mail into the bucket
// and asks names for what they say of senders.
func (w *World) ServeMail(names *dns.Server) *Process {
	w.t.Helper()
	keys, err := w.Cloud.Root().Retrieve(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Write("mail/credentials", fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", keys.AccessKeyID, keys.SecretAccessKey))
	file := w.Write("mail/mail.yaml", fmt.Appendf(nil, `
hostname: %s
domains: [%s]
listen: %s
resolver: %s
store:
  s3: {region: %s, bucket: %s, endpoint: %q, path_style: true, compatible: versitygw, credentials_file: credentials}
audit: audit
`, MailReceiver, MailDomain, mailPort, names.Addr(), versity.Region, cloudtest.Bucket, w.Cloud.Endpoint))
	p := w.Start("mail", nil, "mail", "serve", "--config", file, "--json")
	w.Await("the receiver", func() bool {
		c, err := net.Dial("tcp", mailPort)
		return err == nil && c.Close() == nil
	})
	return p
}

// Swaks sends a mail as a person tries a mail server, and returns what was said.
func (w *World) Swaks(to string, args ...string) string {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), Patience)
	defer stop()
	args = append([]string{"--server", mailPort, "--to", to}, args...)
	out, err := exec.CommandContext(ctx, "swaks", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("swaks %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

package cloud

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys/e2e/cloud/rig"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

const secretLink = "https://clerk.openrouter.ai/v1/verify?token=obviously-fake-0123456789abcdef"

// verification is a mail as a service sends one.
func verification(from, to string) []byte {
	return []byte(strings.ReplaceAll(`From: OpenRouter <`+from+`>
To: `+to+`
Subject: Verify your email
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <obviously-fake@openrouter.ai>
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<p>Welcome. <a href="`+secretLink+`">Verify your email</a></p>
<p><a href="https://openrouter.ai/terms">Terms</a></p>
`, "\n", "\r\n"))
}

// objects lists the keys of the store below a prefix.
func objects(t *testing.T, w *rig.World, prefix string) (keys []string) {
	t.Helper()
	list, err := w.Cloud.S3(w.Cloud.Root()).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(cloudtest.Bucket), Prefix: aws.String(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

type foundMail struct{ ID, Kind, Host, Link, Code string }

// TestMail: mail for a wallet's address comes by SMTP, is sorted in the bucket,
// and is read by that wallet's own session and by nobody else's; what is forged
// counts for nothing; the operator's own sign-in mail stays in inbound/.
func TestMail(t *testing.T) {
	w := rig.Start(t, program)
	w.Install()
	names, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	service, err := mailer.New(names, "openrouter.ai")
	if err != nil {
		t.Fatal(err)
	}
	server := w.ServeMail(names)

	ada, eve := w.Home("ada"), w.Home("eve")
	adas, eves := ada.Login("ada@example.com"), eve.Login("eve@example.com")
	w.Role(adas)
	w.Role(eves)
	ada.OK("up")
	eve.OK("up")

	var made struct{ Address string }
	ada.JSON(&made, "mail", "address", "openrouter")
	if !strings.HasPrefix(made.Address, "or-"+adas.String()+"-") || !strings.HasSuffix(made.Address, "@"+rig.MailDomain) {
		t.Fatalf("the address is %s", made.Address)
	}
	// A stranger's mail in the service's name, the operator's own, and one that
	// belongs to nobody.
	if out := w.Swaks(made.Address, "--from", "noreply@openrouter.ai", "--header", "Subject: forged", "--body", secretLink); !strings.Contains(out, "250 ") {
		t.Errorf("swaks: %s", out)
	}
	w.Swaks("login@"+rig.MailDomain, "--from", "login@broker.example.com", "--body", "a sign-in link")
	w.Swaks("zz-"+adas.String()+"-1@"+rig.MailDomain, "--from", "a@b.example", "--body", "nobody's")
	w.Await("three mails to be sorted", func() bool {
		return len(objects(t, w, "bots/"+adas.String()+"/inbound/")) == 1 && len(objects(t, w, "refused/unknown-tag/")) == 1 && len(objects(t, w, "inbound/")) == 1
	})
	if out := ada.Refused("mail", "wait", "openrouter", "--to", made.Address, "--timeout", "2s", "--reveal"); !strings.Contains(out, "1 message came") || strings.Contains(out, secretLink) {
		t.Errorf("a forged mail: %s", out)
	}

	// The service itself. Its mail may come while the server is being replaced.
	server.Stop(syscall.SIGKILL)
	second := w.ServeMail(names)
	signed, err := service.Sign(verification("noreply@openrouter.ai", made.Address))
	if err != nil {
		t.Fatal(err)
	}
	w.Swaks(made.Address, "--from", "noreply@openrouter.ai", "--data", "@"+w.Write("signed.eml", signed))
	var found foundMail
	ada.JSON(&found, "mail", "wait", "openrouter", "--to", made.Address, "--timeout", "30s", "--reveal")
	if found.Link != secretLink || found.Kind != "link" || found.Host != "clerk.openrouter.ai" {
		t.Errorf("found %+v", found)
	}
	found = foundMail{}
	ada.JSON(&found, "mail", "wait", "openrouter", "--to", made.Address, "--timeout", "30s")
	if found.Link != "" || found.ID == "" {
		t.Errorf("without --reveal: %+v", found)
	}
	var shown struct {
		Has     string
		Service string
		By      string
	}
	if out := ada.OK("mail", "show", found.ID, "--json"); json.Unmarshal([]byte(out), &shown) != nil || shown.Has != "link" || shown.Service != "openrouter" || shown.By != "received" || strings.Contains(out, secretLink) {
		t.Errorf("show: %s", out)
	}

	// Eve has a session of her own, the address and the message's name.
	if out := eve.OK("mail", "ls", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("eve lists %s", out)
	}
	for _, args := range [][]string{
		{"mail", "show", found.ID, "--reveal"}, {"mail", "wait", "openrouter", "--to", made.Address, "--timeout", "1s", "--reveal"},
		{"mail", "ls", "--inbound"}, {"mail", "ls", "--refused"},
	} {
		if out := eve.Refused(args...); strings.Contains(out, secretLink) {
			t.Errorf("eve, %q: %s", args, out)
		}
	}
	// What came is in one place each, and the link in no log.
	if n := len(objects(t, w, "bots/"+adas.String()+"/inbound/")); n != 2 {
		t.Errorf("%d mails of ada's", n)
	}
	if n := len(objects(t, w, "bots/"+eves.String()+"/")); n != 0 {
		t.Errorf("%d objects of eve's", n)
	}
	if log := server.Log() + second.Log(); strings.Contains(log, "obviously-fake") || strings.Contains(log, "noreply@") {
		t.Errorf("the receiver logs mail: %s", log)
	}
}

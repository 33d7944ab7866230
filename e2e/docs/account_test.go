package docs

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/internal/testsrv/aws"
)

// account gives the session an administrator's account at what plays AWS, and
// the tokens of two wallets, in a.jwt and b.jwt.
func (s *session) account() error {
	if s.aws != nil {
		return errors.New("there is one account to a document")
	}
	var err error
	if s.aws, err = aws.Start(); err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = s.aws.Close() })
	s.stands[exampleAccount] = aws.Account
	for name, wallet := range map[string]string{"a.jwt": "0x" + strings.Repeat("0a", 20), "b.jwt": "0x" + strings.Repeat("0b", 20)} {
		token := aws.Token("https://broker.example.com", "agentkeys:wallet:"+wallet, wallet)
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(token+"\n"), 0o600); err != nil {
			return err
		}
	}
	out, code, err := s.run("export AWS_ENDPOINT_URL=" + s.aws.URL + " AWS_ACCESS_KEY_ID=" + aws.AdminKey + " AWS_SECRET_ACCESS_KEY=obviously-fake AWS_EC2_METADATA_DISABLED=true")
	if err != nil || code != 0 {
		return errors.Join(err, errors.New(out))
	}
	return nil
}

// found is what SES does once the records are published.
func (s *session) found() error {
	if s.aws == nil || len(s.aws.Identities) == 0 {
		return errors.New("there are no domains yet")
	}
	for _, id := range s.aws.Identities {
		id.Verification, id.DKIMState = "Success", "Success"
	}
	return nil
}

// packed writes a package for Lambda that is another one each time: the head of
// a program for arm64, and nothing that would run.
func (s *session) packed(name string) error {
	head := make([]byte, 64)
	copy(head, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(head[16:], 2)    // an executable
	binary.LittleEndian.PutUint16(head[18:], 0xb7) // for arm64
	binary.LittleEndian.PutUint32(head[20:], 1)
	binary.LittleEndian.PutUint16(head[52:], 64)
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: "bootstrap"}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(head, randomHex(16)...)); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

package cloud

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/base64"
	"fmt"
	"io"
	"os"
)

const (
	// maxPackage is the largest zip that Lambda takes in a request, in bytes.
	maxPackage = 50 << 20
	// maxProgram bounds what is unpacked to look at, in bytes.
	maxProgram = 100 << 20
	// program is the file of the zip that provided.al2023 starts.
	program = "bootstrap"
)

// functionCode is the function's zip.
type functionCode struct {
	zip []byte
	// sha256 is its digest as Lambda tells it, in base64.
	sha256 string
}

// loadPackage reads the function's zip once, and looks whether it is one: a
// package for another machine would be taken, and fail at the first mail.
func (c *Cloud) loadPackage() error {
	if c.Mail == nil || c.Compatible != "" || c.code != nil {
		return nil
	}
	data, err := os.ReadFile(c.Mail.Package)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPackage, err)
	}
	if err := checkPackage(data, c.Mail.Architecture); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrPackage, c.Mail.Package, err)
	}
	sum := sha256.Sum256(data)
	c.code = &functionCode{data, base64.StdEncoding.EncodeToString(sum[:])}
	return nil
}

func checkPackage(data []byte, architecture string) error {
	if len(data) > maxPackage {
		return fmt.Errorf("it has %d bytes, and Lambda takes %d", len(data), maxPackage)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for _, f := range archive.File {
		if f.Name != program {
			continue
		}
		if f.Mode().Perm()&0o111 == 0 {
			return fmt.Errorf("%s in it may not be executed", program)
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(r, maxProgram+1))
		if err != nil {
			return err
		}
		if len(text) > maxProgram {
			return fmt.Errorf("%s in it has more than %d bytes", program, maxProgram)
		}
		return checkProgram(text, architecture)
	}
	return fmt.Errorf("there is no %s in it", program)
}

func checkProgram(text []byte, architecture string) error {
	e, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s in it is no program for Linux: %w", program, err)
	}
	want := map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}[architecture]
	if e.Machine != want {
		return fmt.Errorf("%s in it is for %s, and mail.function.architecture says %s", program, e.Machine, architecture)
	}
	return nil
}

package local

import (
	"fmt"

	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailhead"
)

// followMail reads the mail that a server of its own on this machine keeps in a
// directory. Whoever runs this must be the one who runs that.
func (h *Host) followMail(set MailSettings) error {
	c, err := mailconf.Load(set.Server)
	if err != nil {
		return fmt.Errorf("%s: %w", set.Server, err)
	}
	if c.Store.Directory == "" {
		return fmt.Errorf("%w: %s keeps mail in a bucket, which is read through a broker", ErrMailSettings, set.Server)
	}
	if h.mail.tags = c.Tags; len(c.Tags) == 0 {
		if h.mail.tags, err = h.cat.tags(); err != nil {
			return err
		}
	}
	if h.mail.dir, err = dirmail.Open(c.Store.Directory); err != nil {
		return err
	}
	h.mail.Mail = &Mail{h.mail.dir, c.Domains[0], mailhead.Host(c.Hostname)}
	return h.saveMailSettings(set)
}

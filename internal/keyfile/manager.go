package keyfile

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// kept adds what a password manager keeps under a title, in a field.
func (l *list) kept(title, field, site, value string, line int) error {
	name := strings.TrimSpace(title)
	if field = strings.TrimSpace(field); field != "" {
		name += " / " + field
	}
	b := []byte(strings.TrimSpace(value))
	defer clear(b)
	return l.add(Item{Name: name, Line: line, Host: hostOf(site), Kept: true}, b)
}

// note adds a note that is one word: that may be a key, prose is none.
func (l *list) note(title, site, text string, line int) error {
	if len(strings.Fields(text)) != 1 {
		return nil
	}
	return l.kept(title, "note", site, text, line)
}

func hostOf(site string) string {
	u, err := url.Parse(strings.TrimSpace(site))
	if err == nil && u.Host == "" {
		u, err = url.Parse("https://" + strings.TrimSpace(site))
	}
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// onePassword reads a 1PUX file (support.1password.com/1pux-format): a zip
// with a JSON document in it.
func (l *list) onePassword(data []byte) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return fmt.Errorf("%w: this is no 1PUX file, which is a zip archive", ErrFormat)
	}
	f, err := z.Open("export.data")
	if err != nil {
		return fmt.Errorf("%w: the archive has no export.data, or cannot be read", ErrFormat)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4*MaxFile+1))
	defer clear(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the archive is damaged", ErrFormat)
	case len(text) > 4*MaxFile || crowded(text):
		return ErrTooLarge
	}
	var export struct {
		Accounts []struct {
			Vaults []struct {
				Items []struct {
					puxItem
					Item *puxItem `json:"item"` // in early versions of the format
				} `json:"items"`
			} `json:"vaults"`
		} `json:"accounts"`
	}
	if json.Unmarshal(text, &export) != nil {
		return errJSON
	}
	for _, a := range export.Accounts {
		for _, v := range a.Vaults {
			for _, it := range v.Items {
				item := &it.puxItem
				if it.Item != nil {
					item = it.Item
				}
				if err := l.puxItem(item); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// crowded reports whether a document has more parts than an export has. Each
// takes much more memory than its two bytes of text, and a small archive can
// hold many millions.
func crowded(text []byte) bool {
	const most = 50 * maxItems
	parts, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == ',':
			parts++
		}
	}
	return parts > most
}

type puxItem struct {
	State    string `json:"state"`
	Overview struct {
		Title string `json:"title"`
		URL   string `json:"url"`
	} `json:"overview"`
	Details struct {
		LoginFields []struct {
			Name        string `json:"name"`
			Value       string `json:"value"`
			Designation string `json:"designation"`
			FieldType   string `json:"fieldType"`
		} `json:"loginFields"`
		Password   string `json:"password"`
		NotesPlain string `json:"notesPlain"`
		Sections   []struct {
			Fields []struct {
				Title string                     `json:"title"`
				ID    string                     `json:"id"`
				Value map[string]json.RawMessage `json:"value"`
			} `json:"fields"`
		} `json:"sections"`
	} `json:"details"`
}

// puxItem takes what is hidden on the screen, text fields and notes.
func (l *list) puxItem(it *puxItem) error {
	if it.State == "archived" {
		return nil
	}
	title, site, d := it.Overview.Title, it.Overview.URL, &it.Details
	for _, f := range d.LoginFields {
		if f.Designation == "password" || f.FieldType == "P" {
			if err := l.kept(title, "password", site, f.Value, 0); err != nil {
				return err
			}
		}
	}
	if err := l.kept(title, "password", site, d.Password, 0); err != nil {
		return err
	}
	for _, s := range d.Sections {
		for _, f := range s.Fields {
			name := f.Title
			if name == "" {
				name = f.ID
			}
			for _, kind := range []string{"concealed", "string"} {
				var text string
				if json.Unmarshal(f.Value[kind], &text) != nil {
					continue
				}
				if err := l.kept(title, name, site, text, 0); err != nil {
					return err
				}
			}
		}
	}
	return l.note(title, site, d.NotesPlain, 0)
}

// bitwarden reads a JSON export that is not encrypted.
func (l *list) bitwarden(data []byte) error {
	var export struct {
		Encrypted bool `json:"encrypted"`
		Items     []struct {
			Name    string `json:"name"`
			Notes   string `json:"notes"`
			Deleted string `json:"deletedDate"`
			Login   *struct {
				Password string `json:"password"`
				URIs     []struct {
					URI string `json:"uri"`
				} `json:"uris"`
			} `json:"login"`
			Fields []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"fields"`
		} `json:"items"`
	}
	if crowded(data) {
		return ErrTooLarge
	}
	if json.Unmarshal(data, &export) != nil {
		return errJSON
	}
	if export.Encrypted {
		return fmt.Errorf("%w: export it as .json, not as .json (encrypted)", ErrEncrypted)
	}
	if export.Items == nil {
		return fmt.Errorf("%w: a Bitwarden export has items", ErrFormat)
	}
	for _, it := range export.Items {
		if it.Deleted != "" {
			continue
		}
		site := ""
		if it.Login != nil {
			if len(it.Login.URIs) > 0 {
				site = it.Login.URIs[0].URI
			}
			if err := l.kept(it.Name, "password", site, it.Login.Password, 0); err != nil {
				return err
			}
		}
		for _, f := range it.Fields {
			if err := l.kept(it.Name, f.Name, site, f.Value, 0); err != nil {
				return err
			}
		}
		if err := l.note(it.Name, site, it.Notes, 0); err != nil {
			return err
		}
	}
	return nil
}

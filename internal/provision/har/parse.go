package har

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/litentry/agentkeys/internal/strictjson"
)

// maxArchive is the size of the largest archive that is read.
const maxArchive = 96 << 20

// fields says which fields an object of HAR 1.2 has to have and which it may
// have; a field's own object is named behind its colon, a list of them by [].
// Fields that begin with _ are a program's own, and passed over.
var fields = map[string]struct{ must, may string }{
	"archive":  {"log:log", ""},
	"log":      {"version creator:creator entries:[]entry", "browser:creator pages:[]page comment"},
	"creator":  {"name version", "comment"},
	"page":     {"startedDateTime id title pageTimings:timing", "comment"},
	"timing":   {"", "onContentLoad onLoad comment"},
	"entry":    {"startedDateTime time request:request response:response cache:cache timings:timings", "pageref serverIPAddress connection comment"},
	"request":  {"method url httpVersion cookies:[]cookie headers:[]pair queryString:[]pair headersSize bodySize", "postData:post comment"},
	"response": {"status statusText httpVersion cookies:[]cookie headers:[]pair content:content redirectURL headersSize bodySize", "comment"},
	"cookie":   {"name value", "path domain expires httpOnly secure sameSite comment"},
	"pair":     {"name value", "comment"},
	"post":     {"mimeType", "params:[]param text comment"},
	"param":    {"name", "value fileName contentType comment"},
	"content":  {"size mimeType", "compression text encoding comment"},
	"cache":    {"", "beforeRequest afterRequest comment"},
	"timings":  {"send wait receive", "blocked dns connect ssl comment"},
}

// Parse reads an archive. Fields that HAR 1.2 does not have are refused, unless
// their names begin with _.
func Parse(data []byte) (*Archive, error) {
	if len(data) > maxArchive {
		return nil, fmt.Errorf("%w: it is larger than %d MiB", ErrHAR, maxArchive>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as some programs write it
	if err := strictjson.Unique(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHAR, err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("%w: it is no JSON", ErrHAR)
	}
	if err := complete(tree, "archive"); err != nil {
		return nil, err
	}
	a := new(Archive)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("%w: a field has a value of another kind", ErrHAR)
	}
	if err := a.validate(); err != nil {
		return nil, err
	}
	if a.Log.Pages == nil {
		a.Log.Pages = []Page{}
	}
	for _, e := range a.Log.Entries {
		if p := e.Request.Post; p != nil && p.Params == nil {
			p.Params = []Param{}
		}
	}
	return a, nil
}

// complete reports whether an object has its fields, and no others.
func complete(v any, kind string) error {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%w: %s is no object", ErrHAR, kind)
	}
	known := 0
	check := func(list string, must bool) error {
		for field := range strings.FieldsSeq(list) {
			name, of, nested := strings.Cut(field, ":")
			value, there := object[name]
			if !there || value == nil {
				if must || there {
					return fmt.Errorf("%w: %s has no %s", ErrHAR, kind, name)
				}
				continue
			}
			known++
			element, many := strings.CutPrefix(of, "[]")
			switch list, isList := value.([]any); {
			case !nested:
			case !many:
				if err := complete(value, of); err != nil {
					return err
				}
			case !isList:
				return fmt.Errorf("%w: %s of %s is no list", ErrHAR, name, kind)
			default:
				for _, e := range list {
					if err := complete(e, element); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	if err := check(fields[kind].must, true); err != nil {
		return err
	}
	if err := check(fields[kind].may, false); err != nil {
		return err
	}
	for name := range object {
		if strings.HasPrefix(name, "_") {
			known++
		}
	}
	if known != len(object) {
		return fmt.Errorf("%w: %s has a field that is not known", ErrHAR, kind)
	}
	return nil
}

// validate checks what no field's kind shows.
func (a *Archive) validate() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrHAR}, args...)...)
	}
	if a.Log.Version != "1.2" {
		return refuse("its version is not 1.2")
	}
	if len(a.Log.Entries) > maxEntries || len(a.Log.Pages) > maxEntries {
		return refuse("it has more than %d entries or pages", maxEntries)
	}
	pages := map[string]bool{"": true}
	for _, p := range a.Log.Pages {
		if pages[p.ID] {
			return refuse("two pages have one id, or one has none")
		}
		pages[p.ID] = true
	}
	for i, e := range a.Log.Entries {
		u, err := url.Parse(e.Request.URL)
		t := e.Timings
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			return refuse("entry %d: its URL is not of http or https", i)
		case e.Request.Method == "" || strings.Trim(e.Request.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
			return refuse("entry %d: its method is none", i)
		case e.Response.Status != 0 && e.Response.Status < 100 || e.Response.Status > 999:
			return refuse("entry %d: its status is none", i)
		case e.Time < 0 || t.Send < 0 || t.Wait < 0 || t.Receive < 0:
			return refuse("entry %d: a time is negative", i)
		case !pages[e.PageRef]:
			return refuse("entry %d: there is no such page", i)
		}
		switch e.Response.Content.Encoding {
		case "":
		case "base64":
			if _, err := base64.StdEncoding.DecodeString(e.Response.Content.Text); err != nil {
				return refuse("entry %d: its body is not base64", i)
			}
		default:
			return refuse("entry %d: its body is encoded in a way that is not known", i)
		}
	}
	return nil
}

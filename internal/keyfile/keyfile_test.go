package keyfile

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// show lists items as LINE NAME=VALUE.
func show(items []Item) string {
	var out []string
	for _, it := range items {
		out = append(out, fmt.Sprintf("%d %s=%s", it.Line, it.Name, it.Value.Expose()))
	}
	return strings.Join(out, "\n")
}

func TestDotenv(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"plain":           {"A=b\nC=d", "1 A=b\n2 C=d"},
		"export":          {"export A=b\n\texport  C=d", "1 A=b\n2 C=d"},
		"export alone":    {"export A\nB=c", "2 B=c"},
		"blanks":          {"  A = b c \nC=d\t", "1 A=b c\n2 C=d"},
		"comments":        {"# A=b\nC=d # e\nF=g#h\nI=#j", "2 C=d\n3 F=g#h"},
		"empty":           {"A=\nB=''\nC=\"\"\nD=e", "4 D=e"},
		"single quotes":   {`A='b "c" \n $d'`, `1 A=b "c" \n $d`},
		"double quotes":   {`A="b \"c\" \\ \$d \x" # e`, `1 A=b "c" \ $d \x`},
		"backquotes":      {"A=`b'c\"d`", `1 A=b'c"d`},
		"escapes":         {`A="a\nb\tc\rd"`, "1 A=a\nb\tc\rd"},
		"several lines":   {"A=\"b\nc\"\nD=e", "1 A=b\nc\n3 D=e"},
		"not expanded":    {"A=$B\nC=\"${D}\"", "1 A=$B\n2 C=${D}"},
		"CRLF":            {"A=b\r\nC=\"d\"\r\n", "1 A=b\n2 C=d"},
		"byte order mark": {"\xef\xbb\xbfA=b", "1 A=b"},
		"names":           {"a.b-c_D9=e", "1 a.b-c_D9=e"},
		"quote inside":    {`A=b"c"`, `1 A=b"c"`},
		"equals inside":   {"A=b=c==", "1 A=b=c=="},
	} {
		items, err := Parse(Dotenv, []byte(c.text))
		if err != nil || show(items) != c.want {
			t.Errorf("%s: %v\n%s", name, err, show(items))
		}
	}
	for name, text := range map[string]string{
		"no sign": "A=b\nhunter2hunter2\n", "open quote": "A='hunter2", "behind a quote": `A="b"hunter2`, "a number": "1A=hunter2", "behind, no blank": `A="b"#hunter2`,
	} {
		_, err := Parse(Dotenv, []byte(text))
		if !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJSON(t *testing.T) {
	items, err := Parse(JSON, []byte("{\n \"a\": \"b\",\n \"c\": {\"d\": [\"e\", 1, {\"f\": \"g\"}]},\n \"n\": null, \"h\": true\n}"))
	if want := "2 a=b\n3 c.d.0=e\n3 c.d.2.f=g"; err != nil || show(items) != want {
		t.Errorf("%v\n%s", err, show(items))
	}
	for name, text := range map[string]string{
		"cut": `{"a": "hunter2"`, "behind": `{"a": "b"} hunter2`, "twice": `{"a": "b", "a": "hunter2"}`, "no JSON": "hunter2", "deep": strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100),
	} {
		if _, err := Parse(JSON, []byte(text)); !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func pux(t testing.TB, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const puxText = `{"accounts": [{"attrs": {}, "vaults": [{"attrs": {}, "items": [
 {"state": "active", "overview": {"title": "OpenRouter", "url": "https://openrouter.ai/sign-in"},
  "details": {"loginFields": [{"name": "user", "value": "me", "fieldType": "T", "designation": "username"}, {"value": "pass-word", "fieldType": "P", "designation": "password"}],
   "notesPlain": "one-word",
   "sections": [{"title": "", "fields": [{"title": "API key", "id": "x", "value": {"concealed": "the-key"}}, {"title": "site", "id": "y", "value": {"url": "https://x"}}, {"title": "", "id": "credential", "value": {"string": "text"}}]}]}},
 {"item": {"overview": {"title": "Old"}, "details": {"password": "old-form", "notesPlain": "several words"}}},
 {"state": "archived", "overview": {"title": "Gone"}, "details": {"password": "gone"}}
]}]}]}`

func TestManagers(t *testing.T) {
	items, err := Parse(OnePassword, pux(t, "export.data", puxText))
	want := "0 OpenRouter / password=pass-word\n0 OpenRouter / API key=the-key\n0 OpenRouter / credential=text\n0 OpenRouter / note=one-word\n0 Old / password=old-form"
	if err != nil || show(items) != want || items[0].Host != "openrouter.ai" || !items[0].Kept {
		t.Errorf("1password: %v\n%s", err, show(items))
	}
	items, err = Parse(Bitwarden, []byte(`{"encrypted": false, "folders": [], "items": [
	 {"type": 1, "name": "Groq", "notes": null, "login": {"uris": [{"match": null, "uri": "console.groq.com"}], "username": "me", "password": "pw"}, "fields": [{"name": "API key", "value": "kk", "type": 1}, {"name": "n", "value": null}]},
	 {"type": 2, "name": "Note", "notes": "secret-note", "login": null}, {"name": "Gone", "deletedDate": "2026-01-01T00:00:00Z", "notes": "gone"}]}`))
	if want := "0 Groq / password=pw\n0 Groq / API key=kk\n0 Note / note=secret-note"; err != nil || show(items) != want || items[0].Host != "console.groq.com" {
		t.Errorf("bitwarden: %v\n%s", err, show(items))
	}
	if _, err := Parse(Bitwarden, []byte(`{"encrypted": true, "data": "hunter2"}`)); !errors.Is(err, ErrEncrypted) {
		t.Errorf("encrypted: %v", err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"lastpass":  {"url,username,password,totp,extra,name,grouping,fav\nhttps://x.example,me,pw,,\"a\nb\",X,,0\nhttp://sn,,,,note-key,N,,0\n", "2 X / password=pw\n4 N / note=note-key"},
		"chrome":    {"name,url,username,password,note\nx.example,https://x.example/,me,\"p,w\"\"\",\n", "2 x.example / password=p,w\""},
		"1password": {"Title,Url,Username,Password,OTPAuth,Favorite,Archived,Tags,Notes\nX,https://x.example,me,pw,,false,false,,\n", "2 X / password=pw"},
		"firefox":   {"\"url\",\"username\",\"password\",\"guid\"\n\"https://x.example\",\"me\",\"pw\",\"{1}\"\n", "2 / password=pw"},
		"a table":   {"NAME,VALUE\nA_KEY,k1\nB_KEY, k2 \n", "2 A_KEY=k1\n3 B_KEY=k2"},
		"short row": {"url,name,password\nhttps://x.example\n", ""},
	} {
		items, err := Parse(CSV, []byte(c.text))
		if err != nil || show(items) != c.want {
			t.Errorf("%s: %v\n%s", name, err, show(items))
		}
	}
	for name, c := range map[string]struct {
		f    Format
		data []byte
	}{
		"no zip": {OnePassword, []byte("PK\x03\x04hunter2")}, "another zip": {OnePassword, pux(t, "hunter2", "{}")}, "no JSON in it": {OnePassword, pux(t, "export.data", "hunter2")},
		"wrong types": {Bitwarden, []byte(`{"items": "hunter2"}`)}, "no items": {Bitwarden, []byte(`{"encrypted": false}`)},
		"no headings": {CSV, []byte("hunter2,b\n")}, "bad quotes": {CSV, []byte("url,password\nx,\"hunter2")}, "empty": {CSV, nil}, "no format": {"x", nil},
	} {
		if _, err := Parse(c.f, c.data); !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is small on the disk may be large in memory.
func TestBounds(t *testing.T) {
	bomb := pux(t, "export.data", strings.Repeat(" ", 4*MaxFile+1)+"{}")
	if _, err := Parse(OnePassword, bomb); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a bomb of %d bytes: %v", len(bomb), err)
	}
	crowd := strings.Repeat("0,", 50*maxItems+1) + "0"
	for f, data := range map[Format][]byte{
		OnePassword: pux(t, "export.data", `{"accounts":[{"vaults":[{"items":[`+crowd+`]}]}]}`),
		Bitwarden:   []byte(`{"encrypted":false,"items":[` + crowd + `]}`),
	} {
		if _, err := Parse(f, data); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s, a crowd in %d bytes: %v", f, len(data), err)
		}
	}
	if crowded([]byte(`{"a":"` + strings.Repeat(`,\"`, 50*maxItems+1) + `"}`)) {
		t.Error("prose is a crowd")
	}
	if _, err := Parse(Dotenv, make([]byte, MaxFile+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
	if _, err := Parse(Dotenv, bytes.Repeat([]byte("A=b\n"), maxItems+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("many values: %v", err)
	}
	if items, err := Parse(Dotenv, []byte("A="+strings.Repeat("a", maxValue+1)+"\nB=c")); err != nil || show(items) != "2 B=c" {
		t.Errorf("a long value: %v", err)
	}
	// A key that stands where a name belongs is not shown.
	key := routerKey()
	items, err := Parse(JSON, []byte(`{"`+key+`": "x"}`))
	if err != nil || len(items) != 1 || strings.Contains(items[0].Name, key) {
		t.Errorf("a key for a name: %v, %s", err, items[0].Name)
	}
}

// TestNames: a key is not shown where a name belongs either.
func TestNames(t *testing.T) {
	key := "sk-or-v1-" + strings.Repeat("0123456789abcdef", 4)
	for f, data := range map[Format]string{
		JSON: `{"tokens":{"` + key + `":"a value of mine"},"a.` + key + `.b":"another"}`,
		CSV:  "name,url,username,password\n" + key + ",https://a.example,u,obviously-fake\n",
	} {
		items, err := Parse(f, []byte(data))
		if err != nil || len(items) == 0 {
			t.Fatal(f, err)
		}
		for _, it := range items {
			if strings.Contains(it.Name, key) {
				t.Errorf("%s: a name is a key", f)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Format
	}{
		{".env", "", Dotenv}, {"x/.env.local", "A=b", Dotenv}, {"prod.env", "# x", Dotenv}, {"-", "A=b", Dotenv},
		{"x.json", `{"a": "b"}`, JSON}, {"-", " [1]", JSON}, {"x.json", `{"encrypted": false, "items": []}`, Bitwarden}, {"x", `{"encrypted": true}`, Bitwarden},
		{"x.1pux", string(pux(t, "a", "b")), OnePassword}, {"x.csv", "url,name,password\n", CSV}, {"-", "name,url,username,password\na,b,c,d\n", CSV},
		{"x.txt", "some prose, password or not\nand more", ""}, {"-", "", ""}, {"x.bin", "\x00\x01", ""},
	} {
		got, err := Detect(c.name, []byte(c.text))
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s %.20q: %s, %v", c.name, c.text, got, err)
		}
	}
	if _, err := ParseFormat("yaml"); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func routerKey() string {
	return "sk-or" + "-v1-" + randomText("0123456789abcdef", 64)
}

func randomText(alphabet string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// Whatever is read, no error quotes it, and of a dotenv file everything but
// what is taken out stays as it is.
func FuzzParse(f *testing.F) {
	f.Add(uint8(0), []byte("A=b\nexport C=\"d\ne\" # f\n"))
	f.Add(uint8(1), []byte(`{"a": {"b": ["c"]}}`))
	f.Add(uint8(2), pux(f, "export.data", puxText))
	f.Add(uint8(3), []byte(`{"encrypted": false, "items": [{"name": "a", "notes": "b"}]}`))
	f.Add(uint8(4), []byte("url,name,password\na,b,c\n"))
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		format := Formats()[int(n)%len(Formats())]
		before := bytes.Clone(data)
		items, err := Parse(format, data)
		if !bytes.Equal(before, data) {
			t.Fatal("the file was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrEncrypted) || len(err.Error()) > 120 {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		for i, it := range items {
			if it.Value.IsZero() || len(it.Name) > maxName {
				t.Fatal("an item has no value, or a long name")
			}
			if format != Dotenv {
				continue
			}
			// Without one item, the others are what they were.
			out := patched(data, it.Without())
			rest, err := Parse(Dotenv, out)
			if err != nil || len(rest) != len(items)-1 {
				t.Fatalf("without item %d: %v, %d items of %d\n%q\n%q", i, err, len(rest), len(items), data, out)
			}
			others := slices.Delete(slices.Clone(items), i, i+1)
			for j := range rest {
				if rest[j].Name != others[j].Name || !rest[j].Value.Equal(others[j].Value) {
					t.Fatal("another item has changed")
				}
			}
		}
	})
}

func patched(data []byte, patches []Patch) []byte {
	var out []byte
	at := 0
	for _, p := range patches {
		out = append(append(out, data[at:p.From]...), p.Text...)
		at = p.To
	}
	return append(out, data[at:]...)
}

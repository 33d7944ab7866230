package verifymail

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// hostile holds makers of mail that is meant to cost much, of about n bytes.
func hostile() map[string]func(n int) func(*letter) {
	fill := func(unit string, n int) string { return strings.Repeat(unit, n/len(unit)) }
	html := func(unit string) func(n int) func(*letter) {
		return func(n int) func(*letter) { return page1("<p>Your code</p>" + fill(unit, n)) }
	}
	text := func(unit string) func(n int) func(*letter) {
		return func(n int) func(*letter) { return plain("Your code\n" + fill(unit, n)) }
	}
	mixed := func(unit string) func(n int) func(*letter) {
		return func(n int) func(*letter) {
			return func(l *letter) { l.ctype, l.body = "multipart/mixed; boundary=b", "--b\r\n"+fill(unit, n) }
		}
	}
	numbered := func(before, format, behind string, to func(string) func(*letter)) func(n int) func(*letter) {
		return func(n int) func(*letter) {
			var b strings.Builder
			b.WriteString(before)
			for i := 0; b.Len() < n; i++ {
				fmt.Fprintf(&b, format, i)
			}
			return to(b.String() + behind)
		}
	}
	return map[string]func(n int) func(*letter){
		"nested multiparts": func(n int) func(*letter) {
			return func(l *letter) {
				l.ctype = "multipart/mixed; boundary=b0"
				var b strings.Builder
				for i := 0; b.Len() < n; i++ {
					fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
				}
				l.body = b.String()
			}
		},
		"the same boundary within itself":  mixed("--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"),
		"parts without headers":            mixed("--b\n\n"),
		"parts with a type":                mixed("--b\nContent-Type: text/plain\n\nx\n"),
		"lines that are nearly a boundary": mixed("\n-\n"),
		"line ends":                        mixed("\r\n"),
		"a header of lines without colons": mixed("x\r\n"),
		"a header of colons":               mixed(":x\r\n"),
		"a header of folds":                mixed(" x\r\n"),
		"hyphens":                          mixed("-"),
		"carriage returns":                 mixed("\r"),

		"links":                     numbered("", "<a href=\"https://clerk.openrouter.ai/v1/v?t=%016d\">x</a>\n", "", page1),
		"links that pass":           html(a(clerk, "Verify")),
		"links that are not closed": html("<a href=" + clerk + ">"),
		"links that show URLs":      html(a(clerk, clerk)),
		"one link with all the text": func(n int) func(*letter) {
			return page1("<a href=" + clerk + ">" + fill("https://x.example ", n) + "</a>")
		},
		"formatting that is never closed":  numbered("", "<b a=%d>", "", page1),
		"formatting and paragraphs":        numbered("", "<b a=%d><p>", "", page1),
		"elements in elements":             html("<div>"),
		"ends of nothing":                  html("</i>"),
		"ends that look for long":          func(n int) func(*letter) { return page1("<i><td>" + strings.Repeat("<b>", 190) + fill("</i>", n)) },
		"attributes":                       numbered("<p ", "a%d=x ", ">", page1),
		"a style without an end":           func(n int) func(*letter) { return page1(`<p style="` + fill("display:x;", n) + `">`) },
		"a style of comments":              func(n int) func(*letter) { return page1(`<p style="` + fill("/*", n) + `">`) },
		"classes":                          func(n int) func(*letter) { return page1(`<p class="` + fill("a ", n) + `">`) },
		"less than":                        html("<"),
		"comments that do not end":         html("<!--"),
		"raw text that does not end":       html("<title></titl"),
		"scripts":                          html("<script><!--<script>"),
		"entities":                         html("&amp;"),
		"entities without an end":          html("&nbs"),
		"cells":                            html("<tr><td>1"),
		"tables":                           html("<table><tr><td>1</table>"),
		"SVG":                              html("<svg><g/>"),
		"digits in cells":                  html("<td>1</td>"),
		"zero-width characters":            text("\u200b"),
		"spaces":                           text(" "),
		"tabs and digits":                  text("1\t"),
		"digits":                           text("1"),
		"groups":                           text("123 "),
		"codes":                            numbered("", "Your code is %06d\n", "", plain),
		"codes far from their label":       numbered("code"+strings.Repeat("x", 200), "\n%06d\n", "", plain),
		"numbers alone below a long line":  func(n int) func(*letter) { return plain("code " + fill("x ", n/2) + fill("\n123456\n", n/2)) },
		"labels":                           text("code "),
		"parts of labels":                  text("one time "),
		"labels of other codes":            text("zip code "),
		"URLs":                             text("https://"),
		"URLs and brackets":                text("https://x.example/" + strings.Repeat(")", 200) + "\n"),
		"one URL of brackets":              func(n int) func(*letter) { return plain("https://" + fill(")", n)) },
		"colons and slashes":               text("://"),
		"URLs in URLs":                     text("https://x.example/?u="),
		"quoted lines":                     text("> x\n"),
		"introductions":                    text("On x wrote\nwrote :\n"),
		"what Outlook writes":              text("From:\nSent:\n"),
		"barriers":                         text("https://\x00"),
		"quoted-printable of equals signs": func(n int) func(*letter) { return func(l *letter) { l.cte, l.body = "quoted-printable", fill("=", n) } },
		"quoted-printable of spaces":       func(n int) func(*letter) { return func(l *letter) { l.cte, l.body = "quoted-printable", fill(" ", n) } },
		"quoted-printable of soft line breaks": func(n int) func(*letter) {
			return func(l *letter) { l.cte, l.body = "quoted-printable", fill("=\r\n", n) }
		},
		"base64 of what is none": func(n int) func(*letter) { return func(l *letter) { l.cte, l.body = "base64", fill("!", n) } },
		"ISO-2022-JP of escapes": func(n int) func(*letter) {
			return func(l *letter) { l.ctype, l.body = "text/plain; charset=iso-2022-jp", fill("\x1b$B", n) }
		},
		"GB18030 of halves": func(n int) func(*letter) {
			return func(l *letter) { l.ctype, l.body = "text/plain; charset=gb18030", fill("\x81", n) }
		},
		"header fields": func(n int) func(*letter) { return func(l *letter) { l.more += fill("X: y\r\n", min(n, 200<<10)) } },
		"signatures": func(n int) func(*letter) {
			return func(l *letter) { l.more += fill("DKIM-Signature: ;;;;;;;;\r\n", min(n, 200<<10)) }
		},
		"a media type of parameters": func(int) func(*letter) {
			return func(l *letter) { l.ctype = "text/plain" + strings.Repeat("; a*0*=utf-8''%", 60) }
		},
		"a media type in encoded words": func(int) func(*letter) {
			return func(l *letter) { l.ctype = "text/plain; " + strings.Repeat("=?utf-8?q?b?=", 70) }
		},
		"results of comments": func(int) func(*letter) {
			return func(l *letter) { l.auth = "amazonses.com; " + strings.Repeat("(", 8000) }
		},
		"a From of comments": func(int) func(*letter) {
			return func(l *letter) { l.from = "From: " + strings.Repeat("\"\\\"", 2500) + "\r\n" }
		},
		"a To of many": func(int) func(*letter) {
			return func(l *letter) { l.to = "To: " + strings.Repeat("a@b.example,", 650) + mailbox + "\r\n" }
		},
		"a To of groups": func(int) func(*letter) {
			return func(l *letter) { l.to = "To: " + strings.Repeat("a:", 4000) + "\r\n" }
		},
		"a To of literals": func(int) func(*letter) {
			return func(l *letter) { l.to = "To: a@[" + strings.Repeat("a", 8000) + "]\r\n" }
		},
	}
}

// What is hostile gives no code and no link, and costs memory by its size.
func TestHostileMail(t *testing.T) {
	const size = 1000 << 10
	passes := map[string]string{"links that pass": clerk, "links that are not closed": "too-complex", "links that show URLs": clerk}
	for name, make := range hostile() {
		t.Run(name, func(t *testing.T) {
			l := newLetter()
			make(size)(&l)
			msg := l.bytes()
			if len(msg) > MaxMessage {
				msg = msg[:MaxMessage]
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := openrouter()
			r.Code.Labels = nil
			res, err := Extract(msg, query(t), r)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 150<<20 { // 134 with the race detector
				t.Errorf("%d MiB for a mail of %d KiB", got>>20, len(msg)>>10)
			}
			got := show(res, err)
			if want := passes[name]; want != "" && got != want || want == "" && err == nil {
				t.Errorf("gave %s", got)
			}
		})
	}
}

// The mail that the library's own tests have found odd must do no harm here,
// with a block of ours on top and alone.
func TestOddMail(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/jhillyerd/enmime/v2").Output()
	root := strings.TrimSpace(string(dir))
	if err != nil || root == "" {
		t.Skipf("no module cache: %v", err)
	}
	n := 0
	err = filepath.WalkDir(filepath.Join(root, "testdata"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		l := newLetter()
		l.ctype = ""
		top, _, _ := strings.Cut(string(l.bytes()), "MIME-Version")
		for _, msg := range [][]byte{data, append([]byte(top), data...), append(l.bytes(), data...)} {
			for _, r := range []Rules{openrouter(), anthropic(), onlyCode(6)} {
				if res, err := Extract(msg, query(t), r); err == nil {
					t.Errorf("%s gave %s", filepath.Base(path), show(res, err))
				}
				Verdict(msg, mailhead.SES())
			}
		}
		return nil
	})
	if err != nil || n < 50 {
		t.Errorf("%d files, %v", n, err)
	}
}

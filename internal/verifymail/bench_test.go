package verifymail

import (
	"strings"
	"testing"
)

func BenchmarkExtract(b *testing.B) {
	filler := strings.Repeat(`<table><tr><td style="padding:0 24px;font-size:0px"><p style="font-size:14px">Some words that nobody reads.</p></td></tr></table>`, 200)
	for name, edit := range map[string]func(*letter){
		"plain":   plain(good),
		"html28K": both(good+clerk, filler+"<p>"+good+"</p>"+a(clerk, "Verify")+filler[:len(filler)/10]),
	} {
		b.Run(name, func(b *testing.B) {
			l := newLetter()
			edit(&l)
			msg, q, r := l.bytes(), query(b), openrouter()
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Extract(msg, q, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

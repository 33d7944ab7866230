package mailhead

import "strings"

// single are the fields that a message has once at most: RFC 5322, 3.6, and
// what RFC 2045 and 2183 say of its body.
var single = []string{
	"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
}

// Single reports whether a message has a field of this name once at most. With
// two, a signature holds for the lower one, and a reader shows the upper: RFC
// 6376, 8.15.
func Single(name string) bool {
	for _, s := range single {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

package testsrv

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// Models are the model names that steer an answer, with what each does; any
// other name gets the plain reply. A vendor prefix, as in openai/error-429, is
// ignored.
var Models = []struct{ Name, Does string }{
	{"error-<status>", "answers with that status in the vendor's error shape: 400, 401, 402, 403, 404, 408, 413, 429 (with retry-after), 500, 502, 503, 529 and any other from 400 to 599"},
	{"error-midstream", "streams three pieces of text and then the vendor's error event; 500 if not streaming"},
	{"cut-midstream", "streams three pieces of text and then cuts the connection; 500 if not streaming"},
	{"events-<n>", "streams the text in n pieces, filling up with words if it is shorter"},
	{"echo-key", "quotes the credential in the text; streaming, split over events of four characters"},
	{"echo-key-error", "quotes the credential in the message of a 400"},
}

// behaviour is what a model name asks for.
type behaviour struct {
	status  int
	events  int
	broken  bool // error event
	cut     bool
	echo    bool
	echoErr bool
}

func behaviourOf(model string) (b behaviour) {
	name := model[strings.LastIndexByte(model, '/')+1:]
	switch name {
	case "error-midstream":
		b.broken = true
	case "cut-midstream":
		b.cut = true
	case "echo-key":
		b.echo = true
	case "echo-key-error":
		b.echoErr = true
	default:
		if text, ok := strings.CutPrefix(name, "error-"); ok {
			if n, err := strconv.Atoi(text); err == nil && n >= 400 && n <= 599 {
				b.status = n
			}
		}
		if text, ok := strings.CutPrefix(name, "events-"); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 1_000_000 {
				b.events = n
			}
		}
	}
	return b
}

// refusal is the error that the model name asks for, or nil.
func (b behaviour) refusal(c *call, model string, streaming bool) error {
	f := &failure{status: b.status, header: http.Header{}}
	switch {
	case b.echoErr:
		f.status, f.message = http.StatusBadRequest, "Could not process the request of "+c.credential+"."
		return f
	case (b.broken || b.cut) && !streaming:
		f.status = http.StatusInternalServerError
	case b.status == 0:
		return nil
	}
	switch f.status {
	case http.StatusNotFound:
		f.message, f.code = "The model `"+model+"` does not exist or you do not have access to it.", "model_not_found"
	case http.StatusTooManyRequests:
		f.message, f.code = "Rate limit reached for "+model+". Please try again in 1s.", "rate_limit_exceeded"
		f.header.Set("Retry-After", "1")
	case 529:
		f.message = "Overloaded"
	case http.StatusBadRequest:
		f.message, f.param = "Invalid value for 'model': '"+model+"'.", "model"
	default:
		f.message = "The server answered with " + strconv.Itoa(f.status) + " because model " + model + " asked for it."
	}
	return f
}

// Digest is what a reply quotes of a prompt: 16 hexadecimal digits of its
// SHA-256.
func Digest(prompt string) string {
	sum := sha256.Sum256([]byte(prompt))
	return hex.EncodeToString(sum[:8])
}

// Reply is the text that every API answers to a prompt, which is the text of
// the last message.
func Reply(prompt string) string {
	return "This is a canned answer to the prompt with digest " + Digest(prompt) + "."
}

// reply is an answer's text and what was counted for it.
type reply struct {
	id            string // digest of the whole request, for the vendor's ids
	text          string
	pieces        []string
	filler        int // pieces of filler after the others
	input, output int // tokens, of a made-up tokenizer
}

func (s *Server) reply(c *call, b behaviour, prompt string) reply {
	sum := sha256.Sum256(c.body)
	r := reply{id: hex.EncodeToString(sum[:12]), text: Reply(prompt)}
	if b.echo {
		r.text += " You authenticated with " + c.credential + "."
		for text := r.text; text != ""; {
			n := min(4, len(text))
			r.pieces, text = append(r.pieces, text[:n]), text[n:]
		}
	} else {
		r.pieces = strings.SplitAfter(r.text, " ")
		n := s.opts.Events
		if b.events > 0 {
			n = b.events
		}
		switch {
		case n > len(r.pieces):
			r.filler = n - len(r.pieces)
			r.text += strings.Repeat(filler, r.filler)
		case n > 0:
			r.pieces = strings.SplitAfterN(r.text, " ", n)
		}
	}
	r.input, r.output = tokens(prompt), tokens(r.text)
	return r
}

const filler = " and"

func (r reply) each() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range r.pieces {
			if !yield(p) {
				return
			}
		}
		for range r.filler {
			if !yield(filler) {
				return
			}
		}
	}
}

func tokens(text string) int { return 8 + (len(text)+3)/4 }

// message is a chat message of either vendor: its content is a string or a
// list of parts, of which the text ones count.
type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		*c += content(p.Text)
	}
	return nil
}

// prompt is the text of the last message.
func prompt(messages []message) string {
	if len(messages) == 0 {
		return ""
	}
	return string(messages[len(messages)-1].Content)
}

package sites

import (
	"html/template"
	"net/http"
	"strings"
)

// checkHost plays the host of a bot check (the live one is Cloudflare's
// Turnstile), in a frame, as sites embed it.
const checkHost = "challenges.cloudflare.com"

// checkField is what the form sends of it.
const checkField = "cf-turnstile-response"

// check is one bot check on a page. Its token counts once it is solved, once.
type check struct {
	solved, used bool
	token        string
}

// Solve answers every bot check that is shown by now, as a person would, and
// returns how many there were. Nothing else does: a click by a program is
// counted, and answered with another check.
func (s *Site) Solve() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.checks {
		if !k.solved {
			k.solved, k.token, n = true, random(64, urlSafe), n+1
		}
	}
	return n
}

// Robots is how often something clicked into a bot check.
func (s *Site) Robots() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.robots
}

// human reports whether the form brings a solved check, where one is wanted.
func (c *call) human() bool {
	if !c.s.opts.Bot {
		return true
	}
	token := c.field(checkField)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, k := range c.s.checks {
		if k.solved && !k.used && token != "" && k.token == token {
			k.used = true
			return true
		}
	}
	return false
}

// frame returns the address of the frame that shows a check. It becomes one
// that Solve answers when the frame is asked for.
func (s *Site) frame() string {
	return "https://" + checkHost + "/cdn-cgi/challenge-platform/h/b/turnstile/f/" + random(24, urlSafe)
}

// widget is a check in a form, "" where none is wanted.
func (c *call) widget() template.HTML {
	if !c.s.opts.Bot {
		return ""
	}
	return template.HTML(strings.NewReplacer("FRAME", c.s.frame(), "FIELD", checkField, "HOST", checkHost).Replace(`<div class="check">
<iframe src="FRAME" width="300" height="65" title="Widget containing a security challenge"></iframe>
<input type="hidden" name="FIELD"></div>
<script>addEventListener("message", e => {
  if (e.origin !== "https://HOST" || !e.data.token) return;
  document.querySelector("input[name=FIELD]").value = e.data.token;
  document.querySelector(".check iframe").remove();
});</script>`))
}

func checkRoutes() []route {
	const at = "/cdn-cgi/challenge-platform/h/b/turnstile/"
	return []route{
		{host: checkHost, on: "GET " + at + "f/{id}", open: true, do: func(c *call) answer {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			if c.s.checks[c.PathValue("id")] == nil {
				c.s.checks[c.PathValue("id")] = &check{}
			}
			return answer{raw: strings.ReplaceAll(checkPage, "BASE", at)}
		}},
		{host: checkHost, on: "GET " + at + "s/{id}", open: true, do: func(c *call) answer {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			k := c.s.checks[c.PathValue("id")]
			if k == nil {
				return answer{status: http.StatusNotFound, json: map[string]any{}}
			}
			return answer{json: map[string]any{"token": k.token}}
		}},
		{host: checkHost, on: "POST " + at + "c/{id}", open: true, do: func(c *call) answer {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			c.s.robots++
			return answer{json: map[string]any{}}
		}},
	}
}

const checkPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Just a moment</title><style>
body{margin:0;font:14px system-ui,sans-serif;background:#fafafa;color:#232323}
.box{border:1px solid #e0e0e0;height:63px;display:flex;align-items:center;gap:12px;padding:0 14px}
input{width:24px;height:24px;margin:0}small{margin-left:auto;color:#777;text-align:right}
</style></head><body><div class="box"><input type="checkbox" id="c"><label for="c" style="white-space:nowrap">Verify you are human</label>
<small>bot check</small></div><script>
const id = location.pathname.split("/").pop();
document.getElementById("c").addEventListener("click", e => { e.preventDefault(); fetch("BASEc/" + id, {method: "POST"}); });
const ask = async () => {
  const a = await (await fetch("BASEs/" + id)).json();
  if (a.token) { parent.postMessage({token: a.token}, "*"); return; }
  setTimeout(ask, 150);
};
ask();
</script></body></html>`

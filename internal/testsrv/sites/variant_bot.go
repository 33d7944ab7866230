package sites

import "net/http"

// botVariants show a bot check of each vendor at each point. The frames are
// asked for at the vendor's host, which a run may not reach: that they are in
// the page is enough to stop.
func botVariants() []Change {
	checks := []struct{ name, what, src, title string }{
		{"turnstile", "Turnstile", "https://challenges.cloudflare.com/cdn-cgi/challenge-platform/h/b/turnstile/if/ov2/av0/rcv/x/0x4AAA/light/fbE/normal/auto/", "Widget containing a Cloudflare security challenge"},
		{"hcaptcha", "hCaptcha", "https://newassets.hcaptcha.com/captcha/v1/abc/static/hcaptcha.html#frame=checkbox", "Widget containing checkbox for hCaptcha security challenge"},
		{"recaptcha", "reCAPTCHA", "https://www.google.com/recaptcha/api2/anchor?ar=1&k=x", "reCAPTCHA"},
		{"recaptcha-net", "reCAPTCHA of the other host", "https://www.recaptcha.net/recaptcha/api2/anchor?ar=1&k=x", "reCAPTCHA"},
		{"arkose", "Arkose Labs", "https://client-api.arkoselabs.com/v2/x/enforcement.html", "Verification challenge"},
		{"geetest", "GeeTest", "", ""},
		{"datadome", "DataDome", "https://geo.captcha-delivery.com/captcha/?initialCid=x", "DataDome CAPTCHA"},
	}
	var list []Change
	for _, k := range checks {
		widget := `<iframe data-variant src="` + k.src + `" title="` + k.title + `" width="304" height="78"></iframe>`
		if k.src == "" {
			widget = `<div data-variant class="geetest_captcha"><div class="geetest_panel" style="width:300px;height:60px">Click to verify</div></div>`
		}
		over := `<div data-variant style="` + sheet + `">` + widget + `</div>`
		list = append(list,
			Change{Name: Variant("bot-" + k.name), What: k.what + " is in every page", Want: stops("bot-check"), pages: first(widget)},
			Change{Name: Variant("bot-" + k.name + "-over"), What: k.what + " is over every page", Want: stops("bot-check"), pages: first(over)},
			Change{Name: Variant("bot-" + k.name + "-later"), What: k.what + " is in every page after the first form", Want: stops("bot-check"),
				Except: map[string]Want{"jina": passes(), "openrouter": passes("bot-check"), "gemini": passes("bot-check", "need-human")}, pages: inserted(widget, true)},
			Change{Name: Variant("bot-" + k.name + "-shadow"), What: k.what + " is in a closed shadow root, a second late", Want: passes("bot-check"), pages: script(
				`ready(() => setTimeout(() => { const d = document.createElement('div'); d.dataset.variant = ''; document.body.prepend(d); d.attachShadow({mode: 'closed'}).innerHTML = ` + "`" + widget + "`" + `; }, 1000));`)},
		)
	}
	return append(list,
		Change{Name: "bot-badge", What: "the badge of a bot check that asks nothing is in every page", Want: passes(), pages: last(
			`<iframe data-variant src="https://www.google.com/recaptcha/api2/anchor?ar=1&amp;k=x&amp;size=invisible&amp;cb=y" title="reCAPTCHA" style="position:fixed;right:0;bottom:14px;border:0" width="256" height="60"></iframe>`)},
		Change{Name: "bot-unseen", What: "a bot check is in the page that nobody sees", Want: passes("bot-check"), pages: last(
			`<iframe data-variant src="https://www.google.com/recaptcha/api2/anchor?size=invisible" style="display:none" width="0" height="0"></iframe>`)},
		Change{Name: "bot-look-alike", What: "a frame of another host is called a bot check", Want: passes("bot-check", "off-host").never(evil), pages: last(
			`<iframe data-variant src="https://challenges.cloudflare.com.evil.test/" title="Widget containing a Cloudflare security challenge" width="300" height="65"></iframe>`)},
		Change{Name: "bot-interstitial", What: "a page of checks comes before everything", Want: stops("bot-check"), pages: whole(http.StatusForbidden,
			`<h1>Just a moment...</h1><form id="challenge-form" action="/" method="post"><p>Verify you are human by completing the action below.</p><iframe src="https://challenges.cloudflare.com/cdn-cgi/challenge-platform/h/b/turnstile/if/" width="300" height="65"></iframe></form>`)},
		Change{Name: "bot-words", What: "a page asks in words whether a robot is there", Want: passes("bot-check", "missing").never(evil), pages: first(
			`<form data-variant action="https://evil.test/robot"><label><input type="checkbox" name="human"> I am not a robot</label></form>`)},
	)
}

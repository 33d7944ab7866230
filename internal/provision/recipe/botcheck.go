package recipe

import (
	"net/url"
	"slices"
	"strings"

	"github.com/litentry/agentkeys/catalog"
)

// botCheck is a bot check and how one knows it: by the hosts of its frames,
// these or below, or by an element of a page that consists of nothing else.
type botCheck struct {
	name  string
	hosts []string
	path  string // that frames begin with, where the host has others
	css   []string
	why   string
}

// botChecks are those a person has to answer.
var botChecks = []botCheck{
	{"Turnstile", []string{"challenges.cloudflare.com"}, "", []string{"#challenge-form", "#challenge-stage", "#cf-challenge-running"},
		"Cloudflare serves widget and interstitial from this host only; the elements are those of its interstitial"},
	{"hCaptcha", []string{"hcaptcha.com"}, "", nil,
		"its frames are on newassets.hcaptcha.com, and its enterprise ones below hcaptcha.com too"},
	{"reCAPTCHA", []string{"google.com"}, "/recaptcha/", nil,
		"its frames are below this path of www.google.com"},
	{"reCAPTCHA", []string{"recaptcha.net"}, "/recaptcha/", nil,
		"the same, where google.com cannot be had"},
	{"Arkose Labs", []string{"arkoselabs.com", "funcaptcha.com"}, "", nil,
		"each customer has a host of its own below these"},
	{"GeeTest", []string{"geetest.com"}, "", []string{".geetest_captcha", ".geetest_panel", ".geetest_holder"},
		"it is drawn into the page itself, hence the elements"},
	{"DataDome", []string{"captcha-delivery.com"}, "", nil,
		"geo.captcha-delivery.com is the frame of its interstitial"},
	{"PerimeterX", []string{"px-captcha.com", "px-cdn.net", "px-cloud.net", "perimeterx.net"}, "", []string{"#px-captcha"},
		"its button to press and hold is in this element"},
	{"AWS WAF", []string{"captcha.awswaf.com", "token.awswaf.com", "captcha-sdk.awswaf.com"}, "", []string{"awswaf-captcha"},
		"its puzzle is this element of the page"},
	{"Friendly Captcha", []string{"frcapi.com", "friendlycaptcha.com", "friendlycaptcha.eu"}, "", []string{".frc-captcha"},
		"a frame since its second version, an element before"},
}

// BotCheckIn reports whether one of frames, which are URLs, is a bot check's, and
// which one's.
func BotCheckIn(frames []string) (name string, ok bool) {
	for _, frame := range frames {
		u, err := url.Parse(frame)
		if err != nil {
			continue
		}
		if isBadge(u) {
			continue
		}
		host := strings.ToLower(u.Hostname())
		for _, b := range botChecks {
			if strings.HasPrefix(u.Path, b.path) && slices.ContainsFunc(b.hosts, func(h string) bool {
				return host == h || strings.HasSuffix(host, "."+h)
			}) {
				return b.name, true
			}
		}
	}
	return "", false
}

// isBadge reports whether a frame of reCAPTCHA's is but its badge, which asks
// nothing of anybody and never goes away: what the frame draws is decided by its
// size, and where a person is wanted after all, that is another frame.
func isBadge(u *url.URL) bool {
	return strings.HasPrefix(u.Path, "/recaptcha/") && strings.HasSuffix(u.Path, "/anchor") && u.RawQuery == BadgeQuery
}

// BadgeQuery is all that is left of the query of such a frame in View.Frames.
const BadgeQuery = "size=invisible"

// BotHosts returns the hosts that bot checks have their frames on, these or
// below.
func BotHosts() (list []string) {
	for _, b := range botChecks {
		if b.path == "" { // the others serve more than bot checks
			list = append(list, b.hosts...)
		}
	}
	return list
}

// botAnswers are the bot checks that stand in the place of a page and say so in
// their answer, which is all that is known of them before they show anything.
var botAnswers = []struct{ name, header, value, why string }{
	{"Cloudflare", "cf-mitigated", "challenge", "each of its challenge pages has it, and no other answer"},
	{"AWS WAF", "x-amzn-waf-action", "captcha", "its action CAPTCHA; the one that is called challenge wants nobody"},
}

// BotCheckSaid reports whether an answer says that it is a bot check in the place
// of a page, and which one's. header returns the value of a header, by its name
// in small letters.
func BotCheckSaid(header func(name string) string) (name string, ok bool) {
	for _, b := range botAnswers {
		if strings.EqualFold(strings.TrimSpace(header(b.header)), b.value) {
			return b.name, true
		}
	}
	return "", false
}

// botCSS are the selectors by which a bot check in a page itself is known.
func botCSS() (list []string) {
	for _, b := range botChecks {
		list = append(list, b.css...)
	}
	return list
}

// checked says which bot check a view shows that nobody has answered yet.
func (f finder) checked(v View) (name string, ok bool) {
	if v.Check != "" {
		return v.Check, true
	}
	for _, frame := range v.Frames {
		if name, bot := BotCheckIn([]string{frame}); bot && !answered(v, frame) && !f.solved[frameOn(v, frame)] {
			return name, true
		}
	}
	for _, b := range botChecks {
		for _, css := range b.css {
			if len(f.all(v.Elements, []catalog.Locator{{CSS: css}}, func(Element) bool { return true })) > 0 {
				return b.name, true
			}
		}
	}
	return "", false
}

// solve remembers which bot checks of a view have been answered: who looks
// later may not see it.
func (f finder) solve(v View) {
	for _, frame := range v.Frames {
		if _, bot := BotCheckIn([]string{frame}); bot {
			f.solved[frameOn(v, frame)] = true
		}
	}
}

func frameOn(v View, frame string) string {
	page, _, _ := strings.Cut(v.URL, "?")
	return frame + " on " + page
}

// answered reports whether the box of a bot check says itself that it has been
// answered: it stays where it is then.
func answered(v View, frame string) bool {
	return slices.ContainsFunc(v.Elements, func(e Element) bool {
		return e.URL == frame && (e.Role == "checkbox" && e.Checked || fold(e.Text) == "success!")
	})
}

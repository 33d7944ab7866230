package catalog

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// validate checks what no single step shows. n is the recipe's mapping.
func (r *Recipe) validate(d *document, n *yaml.Node) {
	at := func(key string) *yaml.Node { return keyOf(n, key) }
	steps := slices.Concat(r.Register, r.Login, r.Key)
	for i, h := range r.Hosts {
		if slices.Contains(r.Hosts[:i], h) {
			d.fail(at("hosts"), "%s stands here twice", h)
		}
	}
	for _, s := range slices.Concat(r.Register, r.Login) {
		if s.marked() {
			d.fail(n, "%s: a key has a name in the stage key only", s.Name)
		}
	}
	for i, s := range r.Key {
		if s.Cleans && (i == 0 || !r.Key[i-1].Cleans) && !s.marked() {
			d.fail(at("key"), "%s cleans, and has no %s in at or if: it could take away another key", s.Name, KeyMark)
		}
	}
	accounts := count(r.Register, makes("account"))
	made := slices.IndexFunc(r.Key, makes("key"))
	read := slices.IndexFunc(r.Key, func(s Step) bool { return s.Pattern == StepExtract })
	switch {
	case len(steps) > maxSteps:
		d.fail(n, "a recipe has at most %d steps", maxSteps)
	case r.Account == AccountNone && len(r.Register) > 0:
		d.fail(at("register"), "without an account there is nothing to register")
	case r.Account == AccountNone && len(r.Login) > 0:
		d.fail(at("login"), "without an account there is no login")
	case r.Account != AccountNone && len(r.Register) == 0:
		d.fail(at("register"), "an account is registered first")
	case r.Account != AccountNone && len(r.Login) == 0:
		d.fail(at("login"), "a run that was cut comes in again by login")
	case r.Account != AccountNone && r.Account != AccountGoogle && accounts == 0:
		d.fail(at("register"), "one step of register makes the account")
	case count(r.Key, makes("key")) != 1:
		d.fail(at("key"), "one step of key, and no more, makes the key")
	case count(r.Key, func(s Step) bool { return s.Pattern == StepExtract }) != 1:
		d.fail(at("key"), "one step of key, and no more, reads the key")
	case read < made:
		d.fail(at("key"), "the key is read before it is made")
	case slices.ContainsFunc(r.Key[made:], func(s Step) bool { return s.Cleans }):
		d.fail(at("key"), "a step cleans after the key is made")
	}
}

// marked reports whether what s is done to, or depends on, is found by the name
// of this run's key.
func (s *Step) marked() bool {
	return slices.ContainsFunc(slices.Concat(s.At, s.If), func(l Locator) bool {
		return strings.Contains(strings.Join([]string{l.Name, l.HasName, l.Text, l.HasText}, "\n"), KeyMark)
	})
}

func makes(what string) func(Step) bool {
	return func(s Step) bool { return s.Makes == what }
}

func count(steps []Step, is func(Step) bool) (n int) {
	for _, s := range steps {
		if is(s) {
			n++
		}
	}
	return n
}

// validateRecipe checks a recipe against the rest of its entry.
func (e *Entry) validateRecipe(d *document, root *yaml.Node) {
	if e.Recipe == nil {
		return
	}
	at := keyOf(root, "recipe")
	if e.Doors[Signup].State == DoorUnsupported {
		d.fail(at, "a sign-up that is unsupported has no recipe")
	}
	if a := e.Recipe.Account; (a == AccountPassword || a == AccountMail) && e.MailTag.State != Known {
		d.fail(at, "without a mail_tag there is no address to sign up with")
	}
	// The engine opens a link of the mail, and no page that is not the recipe's.
	for _, s := range slices.Concat(e.Recipe.Register, e.Recipe.Login, e.Recipe.Key) {
		if !slices.Contains(s.Accept, "link") {
			continue
		}
		for _, h := range e.Mail.Value.Hosts.Value {
			if !slices.Contains(e.Recipe.Hosts, h.Name) {
				d.fail(at, "a link of the mail leads to %s, which is not a host of the recipe", h.Name)
			}
		}
	}
}

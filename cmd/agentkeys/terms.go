package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	termspage "github.com/litentry/agentkeys/internal/terms"
)

func (a *app) termsCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "terms [SERVICE]", Short: "Show what services' terms say, and what you decided", Args: cobra.MaximumNArgs(1),
		Long: `Show where a service's terms are, what is known of them, and whether a person
has allowed a sign-up by program. Without that no sign-up runs on a service's
own pages. A review that allows it holds for 180 days, for one address and one
text: the text is read anew at each sign-up, and if it has changed or cannot be
read, the door stays shut. One that forbids it holds until it is taken back.`,
		Example:           "  agentkeys terms\n  agentkeys terms openrouter\n  agentkeys terms review openrouter --allow --by 'A. Reader' --note 'one account'",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				all, err := client.AllTerms(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(all, func() { a.printAllTerms(all) })
			}
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			st, err := client.Terms(cmd.Context(), svc)
			if err != nil {
				return err
			}
			return a.print(st, func() { a.printTerms(st) })
		},
	}
	c.AddCommand(a.termsReviewCmd(), a.termsForgetCmd())
	return c
}

func (a *app) printAllTerms(all []local.TermsState) {
	var rows [][]string
	for _, st := range all {
		reviewed := ""
		if !st.At.IsZero() {
			reviewed = ago(st.At, time.Now())
		}
		rows = append(rows, []string{st.Service.String(), string(st.Review.Decision), reviewed, st.Why})
	}
	a.table("SERVICE DECISION REVIEWED SIGN-UP", rows)
}

func (a *app) printTerms(st local.TermsState) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "  %-9s %s\n", name, printable(value))
		}
	}
	fmt.Fprintf(a.stdout, "%s (%s)\n", st.Service, printable(st.Name))
	if st.URL == "" {
		st.URL = "unknown: name it with --url to allow them"
	}
	line("terms", st.URL)
	line("finding", st.Finding)
	switch st.Review.Decision {
	case local.TermsNone:
		line("review", "none")
	default:
		line("review", fmt.Sprintf("%s, by %s, %s", st.Review.Decision, st.Review.By, ago(st.At, time.Now())))
		line("note", st.Review.Note)
		holds := "until it is taken back"
		if !st.Expires.IsZero() {
			holds = "until " + st.Expires.Local().Format(time.DateOnly)
		}
		line("holds", holds)
		line("text", st.Review.Digest)
	}
	state := "shut"
	if st.Open {
		state = "open"
	}
	line("sign-up", state+": "+st.Why)
}

func (a *app) termsReviewCmd() *cobra.Command {
	var allow, forbid, yes bool
	var r local.TermsReview
	var file string
	c := &cobra.Command{
		Use: "review SERVICE", Short: "Decide on a service's terms, having read them", Args: cobra.ExactArgs(1),
		Long: `Record your decision on a service's terms, with your name, in the audit log.
Read them first: this program does not, it only notices when they change. If
the page cannot be read without a browser, save it and give the copy: the
sign-up opens only while what is there now is that very text.`,
		Example: `  agentkeys terms review openrouter --allow --by 'A. Reader' --note 'one account, as a person would'
  agentkeys terms review anthropic --forbid --by 'A. Reader' --note 'no programs'
  agentkeys terms review anthropic --allow --by 'A. Reader' --note ok --url https://site.example/terms --text saved.html`,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			switch {
			case allow == forbid:
				return usage(cmd, errors.New("a decision is --allow or --forbid"))
			case strings.TrimSpace(r.By) == "" || strings.TrimSpace(r.Note) == "":
				return usage(cmd, errors.New("a review has the name of its reader (--by) and a note (--note)"))
			case !utf8.ValidString(r.By + r.Note):
				return usage(cmd, errors.New("a name and a note are text, in UTF-8"))
			case allow:
				r.Decision = local.TermsAllow
			default:
				r.Decision = local.TermsForbid
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			s, err := local.ReadService(p, svc)
			if err != nil {
				return classifyService(err)
			}
			if file != "" {
				if r.Digest, err = digestFile(file); err != nil {
					return err
				}
			}
			if allow && !yes {
				if !a.onTerminal() {
					return failWith(exitUsage, "usage", errors.New("there is no terminal to confirm at"), "run this in a terminal, or add --yes if you have read the terms")
				}
				at := r.URL
				if at == "" {
					at, _, _ = strings.Cut(s.Terms, ",")
				}
				typed, err := a.line(cmd.Context(), fmt.Sprintf("Terms of %s: %s\nI have read them, and they let a program sign up for me. Type yes: ", svc, printable(at)))
				if err != nil {
					return err
				}
				if typed != "yes" {
					return failWith(exitRefused, "not-confirmed", errors.New("not confirmed, nothing is recorded"), "read them, then run this again")
				}
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			st, err := client.ReviewTerms(cmd.Context(), svc, r)
			if err != nil {
				return err
			}
			return a.print(st, func() { a.printTerms(st) })
		},
	}
	f := c.Flags()
	f.BoolVar(&allow, "allow", false, "the terms let a program sign up")
	f.BoolVar(&forbid, "forbid", false, "they do not, or you do not want it")
	f.StringVar(&r.By, "by", "", "the `NAME` of who has read them")
	f.StringVar(&r.Note, "note", "", "what the decision rests on, a line of `TEXT`")
	f.StringVar(&r.URL, "url", "", "where the terms are, an https `URL` (default: the catalogue's)")
	f.StringVar(&file, "text", "", "a saved copy of the page, in `FILE`, in place of fetching it")
	f.BoolVar(&yes, "yes", false, "do not ask: I have read them")
	return c
}

// digestFile is that of a saved page.
func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if isMissing(err) {
		return "", failWith(exitNotFound, "not-found", fmt.Errorf("no file %s", path), "check its name")
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	page, err := io.ReadAll(io.LimitReader(f, termspage.Max+1))
	if err != nil {
		return "", err
	}
	digest := termspage.Digest(page)
	if digest == "" {
		return "", failWith(exitUsage, "usage", fmt.Errorf("%s is not a page of terms: it has too little text, or more than %d MiB", path, termspage.Max>>20),
			"save the page as HTML, with the text in it")
	}
	return digest, nil
}

func (a *app) termsForgetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "forget SERVICE", Short: "Take a decision on a service's terms back", Args: cobra.ExactArgs(1),
		Example:           "  agentkeys terms forget openrouter",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.ForgetTerms(cmd.Context(), svc); err != nil {
				return err
			}
			return a.print(map[string]any{"service": svc, "forgotten": true}, func() {
				fmt.Fprintf(a.stdout, "%s: the review is forgotten; a sign-up asks for a new one\n", svc)
			})
		},
	}
}

package cloud

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ses"
	sestypes "github.com/aws/aws-sdk-go-v2/service/ses/types"
)

// easyDKIM is how many keys SES makes for a domain.
const easyDKIM = 3

// receivingParts are SES's: who it receives for, and where it puts it.
func (c *Cloud) receivingParts() []part {
	var list []part
	for _, d := range c.Mail.Domains {
		list = append(list, c.identityPart(d))
		if c.Mail.MailFrom != "" {
			list = append(list, c.mailFromPart(d))
		}
	}
	return append(list, c.ruleSetPart(), c.rulePart(), c.activePart())
}

// identity is what SES says of a domain.
type identity struct {
	there        bool
	verification string // Pending, Success, Failed, TemporaryFailure, NotStarted
	token        string // of the TXT record
	dkim         string // its verification
	dkimTokens   []string
	mailFrom     string // the whole name; "" is Amazon's
	mailFromIs   string // its verification
}

func (c *Cloud) identity(ctx context.Context, domain string) (id identity, err error) {
	one := []string{domain}
	v, err := c.ses.GetIdentityVerificationAttributes(ctx, &ses.GetIdentityVerificationAttributesInput{Identities: one})
	if err != nil {
		return id, err
	}
	a, there := v.VerificationAttributes[domain]
	if !there {
		return id, nil
	}
	id.there, id.verification, id.token = true, string(a.VerificationStatus), aws.ToString(a.VerificationToken)
	k, err := c.ses.GetIdentityDkimAttributes(ctx, &ses.GetIdentityDkimAttributesInput{Identities: one})
	if err != nil {
		return id, err
	}
	id.dkim, id.dkimTokens = string(k.DkimAttributes[domain].DkimVerificationStatus), k.DkimAttributes[domain].DkimTokens
	f, err := c.ses.GetIdentityMailFromDomainAttributes(ctx, &ses.GetIdentityMailFromDomainAttributesInput{Identities: one})
	if err != nil {
		return id, err
	}
	m := f.MailFromDomainAttributes[domain]
	id.mailFrom, id.mailFromIs = aws.ToString(m.MailFromDomain), string(m.MailFromDomainStatus)
	return id, nil
}

func (c *Cloud) identityPart(domain string) part {
	return part{
		name: "mail identity " + domain, want: fmt.Sprintf("%d DKIM keys\n", easyDKIM),
		read: func(ctx context.Context) (string, error) {
			id, err := c.identity(ctx, domain)
			if !id.there || err != nil {
				return "", err
			}
			return fmt.Sprintf("%d DKIM keys\n", len(id.dkimTokens)), nil
		},
		write: func(ctx context.Context) error {
			id, err := c.identity(ctx, domain)
			if err != nil {
				return err
			}
			if !id.there || id.token == "" {
				if !id.there {
					if err := c.willMake(ctx, "identity/"+domain); err != nil {
						return err
					}
				}
				if _, err := c.ses.VerifyDomainIdentity(ctx, &ses.VerifyDomainIdentityInput{Domain: &domain}); err != nil {
					return err
				}
			}
			_, err = c.ses.VerifyDomainDkim(ctx, &ses.VerifyDomainDkimInput{Domain: &domain})
			return err
		},
	}
}

func (c *Cloud) mailFromPart(domain string) part {
	want := c.Mail.MailFrom + "." + domain
	return part{
		name: "mail identity " + domain + ": envelope sender", want: want + "\n",
		read: func(ctx context.Context) (string, error) {
			id, err := c.identity(ctx, domain)
			if id.mailFrom == "" || err != nil {
				return "", err
			}
			return id.mailFrom + "\n", nil
		},
		write: func(ctx context.Context) error {
			_, err := c.ses.SetIdentityMailFromDomain(ctx, &ses.SetIdentityMailFromDomainInput{
				Identity: &domain, MailFromDomain: &want, BehaviorOnMXFailure: sestypes.BehaviorOnMXFailureUseDefaultValue,
			})
			return err
		},
	}
}

func (c *Cloud) ruleSetPart() part {
	set := &c.Names.SES.RuleSet
	return part{
		name: "receipt rule set " + *set, want: "there\n",
		read: func(ctx context.Context) (string, error) {
			_, err := c.ses.DescribeReceiptRuleSet(ctx, &ses.DescribeReceiptRuleSetInput{RuleSetName: set})
			if isMissing(err) {
				return "", nil
			}
			return "there\n", err
		},
		write: func(ctx context.Context) error {
			if err := c.willMake(ctx, "rule-set/"+*set); err != nil {
				return err
			}
			_, err := c.ses.CreateReceiptRuleSet(ctx, &ses.CreateReceiptRuleSetInput{RuleSetName: set})
			return err
		},
	}
}

// receipt is the rule, as it is compared.
type receipt struct {
	Enabled    bool
	Scanned    bool // for spam and viruses
	TLS        string
	Recipients []string
	Bucket     string
	Prefix     string
	Others     int `json:",omitempty"` // actions that are not ours
}

func (c *Cloud) receipt() receipt {
	tls := sestypes.TlsPolicyRequire
	if c.Mail.PlainSMTP {
		tls = sestypes.TlsPolicyOptional
	}
	// In SES's own order, which is not told, domains are compared sorted.
	domains := slices.Sorted(slices.Values(c.Mail.Domains))
	return receipt{Enabled: true, Scanned: true, TLS: string(tls), Recipients: domains, Bucket: c.Names.Bucket, Prefix: inbound}
}

// rule returns our rule, nil if there is none of that name. One that apply did
// not make is not taken over: it does something for somebody.
func (c *Cloud) rule(ctx context.Context) (*sestypes.ReceiptRule, error) {
	out, err := c.ses.DescribeReceiptRule(ctx, &ses.DescribeReceiptRuleInput{RuleSetName: &c.Names.SES.RuleSet, RuleName: &c.Names.SES.Rule})
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	made, err := c.made(ctx)
	if err != nil {
		return nil, err
	}
	if !made[c.ruleNote()] {
		return nil, fmt.Errorf("%w: choose another name under ses.rule, or remove that one", ErrNotOurs)
	}
	return out.Rule, nil
}

func (c *Cloud) ruleNote() string { return "rule/" + c.Names.SES.Rule }

func (c *Cloud) rulePart() part {
	set, name, want := &c.Names.SES.RuleSet, &c.Names.SES.Rule, c.receipt()
	return part{
		name: "receipt rule " + *name, want: pretty(want),
		read: func(ctx context.Context) (string, error) {
			r, err := c.rule(ctx)
			if r == nil || err != nil {
				return "", err
			}
			have := receipt{Enabled: r.Enabled, Scanned: r.ScanEnabled, TLS: string(r.TlsPolicy), Recipients: slices.Sorted(slices.Values(r.Recipients))}
			for _, a := range r.Actions {
				if a.S3Action == nil || have.Bucket != "" {
					have.Others++
					continue
				}
				have.Bucket, have.Prefix = aws.ToString(a.S3Action.BucketName), aws.ToString(a.S3Action.ObjectKeyPrefix)
			}
			return pretty(have), nil
		},
		write: func(ctx context.Context) error {
			r, err := c.rule(ctx)
			if err != nil {
				return err
			}
			rule := &sestypes.ReceiptRule{
				Name: name, Enabled: want.Enabled, ScanEnabled: want.Scanned, TlsPolicy: sestypes.TlsPolicy(want.TLS), Recipients: want.Recipients,
				Actions: []sestypes.ReceiptAction{{S3Action: &sestypes.S3Action{BucketName: &want.Bucket, ObjectKeyPrefix: &want.Prefix}}},
			}
			if r != nil {
				_, err = c.ses.UpdateReceiptRule(ctx, &ses.UpdateReceiptRuleInput{RuleSetName: set, Rule: rule})
				return err
			}
			if err := c.willMake(ctx, c.ruleNote()); err != nil {
				return err
			}
			_, err = c.ses.CreateReceiptRule(ctx, &ses.CreateReceiptRuleInput{RuleSetName: set, Rule: rule})
			return err
		},
	}
}

// activeSet is the name of the rule set that is at work, "" if none is.
func (c *Cloud) activeSet(ctx context.Context) (string, error) {
	out, err := c.ses.DescribeActiveReceiptRuleSet(ctx, &ses.DescribeActiveReceiptRuleSetInput{})
	if isMissing(err) || err == nil && out.Metadata == nil {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Metadata.Name), nil
}

// activePart puts our set to work if none is. An account has one active set in
// a region: to activate ours would end another's mail, so that somebody else's
// stays, and the plan says what to do (Plan.Notes).
func (c *Cloud) activePart() part {
	set := &c.Names.SES.RuleSet
	return part{
		name: "receipt rule set " + *set + ": active", want: "active: " + *set + "\n", equal: func(have string) bool { return have != "" },
		read: func(ctx context.Context) (string, error) {
			name, err := c.activeSet(ctx)
			if name == "" || err != nil {
				return "", err
			}
			return "active: " + name + "\n", nil
		},
		write: func(ctx context.Context) error {
			_, err := c.ses.SetActiveReceiptRuleSet(ctx, &ses.SetActiveReceiptRuleSetInput{RuleSetName: set})
			return err
		},
	}
}

package cloud

import (
	"context"
	"fmt"
	"slices"
)

// Record is one of DNS that a domain needs for its mail.
type Record struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Value string `json:"value"` // "" is not known before apply has run
	For   string `json:"for"`
	// State is what SES says of it: pending, success, failed, or "" of what it
	// does not look at.
	State string `json:"state,omitempty"`
}

// DomainRecords are those of one domain.
type DomainRecords struct {
	Domain string `json:"domain"`
	// State is SES's verification of the domain, "absent" before apply.
	State   string   `json:"state"`
	Records []Record `json:"records"`
}

var sesStates = map[string]string{"Pending": "pending", "Success": "success", "Failed": "failed", "TemporaryFailure": "failing for now", "NotStarted": "not started"}

// DNS is what whoever keeps the domains' zones has to publish.
func (c *Cloud) DNS(ctx context.Context) ([]DomainRecords, error) {
	if c.Mail == nil || c.Compatible != "" {
		return nil, nil
	}
	var list []DomainRecords
	for _, d := range c.Mail.Domains {
		id, err := c.identity(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("mail identity %s: %w", d, err)
		}
		list = append(list, c.records(d, id))
	}
	return list, nil
}

func (c *Cloud) records(domain string, id identity) DomainRecords {
	region := c.Names.SES.Region
	r := DomainRecords{Domain: domain, State: "absent"}
	if id.there {
		r.State = sesStates[id.verification]
	}
	add := func(name, kind, value, what, state string) {
		r.Records = append(r.Records, Record{name, kind, value, what, state})
	}
	// A plain value: whoever writes it into a zone file adds the quotes.
	add("_amazonses."+domain, "TXT", id.token, "proves to SES that the domain is yours", sesStates[id.verification])
	for i := range easyDKIM {
		name, value := "", ""
		if i < len(id.dkimTokens) {
			name, value = id.dkimTokens[i]+"._domainkey."+domain, id.dkimTokens[i]+".dkim.amazonses.com"
		}
		add(name, "CNAME", value, "lets SES sign what it sends (DKIM)", sesStates[id.dkim])
	}
	add(domain, "MX", "10 inbound-smtp."+region+"."+awsSuffix(region), "brings the domain's mail to SES", "")
	add(domain, "TXT", "v=spf1 include:amazonses.com -all", "says who sends from the domain (SPF): join it with one that is there, a name has one only", "")
	dmarc := "v=DMARC1; p=quarantine"
	if c.Mail.DMARCReports != "" {
		dmarc += "; rua=mailto:" + c.Mail.DMARCReports
	}
	add("_dmarc."+domain, "TXT", dmarc, "says what becomes of mail that passes neither (DMARC)", "")
	if c.Mail.MailFrom != "" {
		from := c.Mail.MailFrom + "." + domain
		add(from, "MX", "10 feedback-smtp."+region+".amazonses.com", "takes bounces of what SES sends", sesStates[id.mailFromIs])
		add(from, "TXT", "v=spf1 include:amazonses.com -all", "says who sends with this envelope sender (SPF)", sesStates[id.mailFromIs])
	}
	return r
}

// awsSuffix is the domain of AWS's hosts in a region's partition.
func awsSuffix(region string) string {
	if partition(region) == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// receives are the regions that SES's guide has named as receiving mail for as
// long as it received any. More have been added since, and
// https://docs.aws.amazon.com/general/latest/gr/ses.html has them under "Email
// receiving endpoints". No region is refused here: SES itself says no.
var receives = []string{"us-east-1", "us-west-2", "eu-west-1"}

const receivingPage = "https://docs.aws.amazon.com/general/latest/gr/ses.html"

// mailNotes says what a person has to do that apply cannot.
func (c *Cloud) mailNotes(ctx context.Context) (notes []string, err error) {
	if c.Mail == nil || c.Compatible != "" {
		return nil, nil
	}
	set := c.Names.SES.RuleSet
	active, err := c.activeSet(ctx)
	if err != nil {
		return nil, err
	}
	if active != "" && active != set {
		notes = append(notes, fmt.Sprintf("receipt rule set %s is active, and stays so: an account has one only. Until ses.rule_set says %s, so that the rule joins it, or you make %s the active one yourself, no mail arrives", active, active, set))
	}
	domains, err := c.DNS(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		if d.State != "success" {
			notes = append(notes, fmt.Sprintf("domain %s is not verified (%s): publish the records of 'agentkeys cloud dns'; SES then finds them by itself", d.Domain, d.State))
		}
	}
	if !slices.Contains(receives, c.Names.SES.Region) {
		notes = append(notes, fmt.Sprintf("look whether SES receives mail in %s, under \"Email receiving endpoints\" of %s; if not, set ses.region", c.Names.SES.Region, receivingPage))
	}
	return notes, nil
}

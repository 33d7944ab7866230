package aws

import (
	"fmt"
	"html"
	"net/url"
	"slices"
)

// Identity is a domain of SES's. Its states are Pending until somebody sets
// them otherwise: there is no DNS here.
type Identity struct {
	Token, Verification string
	DKIM                []string
	DKIMState           string
	MailFrom            string
	MailFromState       string
}

// Rule is a receipt rule.
type Rule struct {
	Name             string
	Enabled, Scanned bool
	TLS              string
	Recipients       []string
	Bucket, Prefix   string
}

// SetupObject is what SES writes when a rule is made, to see that it can.
const SetupObject = "AMAZON_SES_SETUP_NOTIFICATION"

func (s *Server) ses(form url.Values, action, region string) (string, *fault) {
	for _, name := range map[string][]string{
		"VerifyDomainIdentity": {"Domain"}, "VerifyDomainDkim": {"Domain"}, "DeleteIdentity": {"Identity"}, "SetIdentityMailFromDomain": {"Identity"},
		"GetIdentityVerificationAttributes": {"Identities.member.1"}, "GetIdentityDkimAttributes": {"Identities.member.1"}, "GetIdentityMailFromDomainAttributes": {"Identities.member.1"},
		"CreateReceiptRuleSet": {"RuleSetName"}, "DescribeReceiptRuleSet": {"RuleSetName"}, "DeleteReceiptRuleSet": {"RuleSetName"},
		"CreateReceiptRule": {"RuleSetName", "Rule.Name"}, "UpdateReceiptRule": {"RuleSetName", "Rule.Name"}, "DescribeReceiptRule": {"RuleSetName", "RuleName"}, "DeleteReceiptRule": {"RuleSetName", "RuleName"},
	}[action] {
		if form.Get(name) == "" {
			return "", refuse(400, "ValidationError", "%s needs %s", action, name)
		}
	}
	switch action {
	case "VerifyDomainIdentity", "VerifyDomainDkim":
		domain := form.Get("Domain")
		id := s.Identities[domain]
		if id == nil {
			id = &Identity{Verification: "Pending", DKIMState: "NotStarted"}
			s.Identities[domain] = id
		}
		if action == "VerifyDomainIdentity" {
			if id.Token == "" {
				id.Token = s.next("fake-token-")
			}
			return "<VerificationToken>" + id.Token + "</VerificationToken>", nil
		}
		if id.DKIM == nil {
			id.DKIM, id.DKIMState = []string{s.next("fakekey"), s.next("fakekey"), s.next("fakekey")}, "Pending"
		}
		return "<DkimTokens>" + members(id.DKIM, "%s") + "</DkimTokens>", nil
	case "DeleteIdentity":
		delete(s.Identities, form.Get("Identity"))
	case "SetIdentityMailFromDomain":
		id := s.Identities[form.Get("Identity")]
		if id == nil {
			return "", refuse(400, "InvalidParameterValue", "no such identity")
		}
		id.MailFrom, id.MailFromState = form.Get("MailFromDomain"), "Pending"
	case "GetIdentityVerificationAttributes":
		return s.attributes(form, "VerificationAttributes", func(id *Identity) string {
			return "<VerificationStatus>" + id.Verification + "</VerificationStatus><VerificationToken>" + id.Token + "</VerificationToken>"
		})
	case "GetIdentityDkimAttributes":
		return s.attributes(form, "DkimAttributes", func(id *Identity) string {
			return fmt.Sprintf("<DkimEnabled>%t</DkimEnabled><DkimVerificationStatus>%s</DkimVerificationStatus><DkimTokens>%s</DkimTokens>", id.DKIM != nil, id.DKIMState, members(id.DKIM, "%s"))
		})
	case "GetIdentityMailFromDomainAttributes":
		return s.attributes(form, "MailFromDomainAttributes", func(id *Identity) string {
			return "<MailFromDomain>" + id.MailFrom + "</MailFromDomain><MailFromDomainStatus>" + id.MailFromState + "</MailFromDomainStatus><BehaviorOnMXFailure>UseDefaultValue</BehaviorOnMXFailure>"
		})
	default:
		return s.rules(form, action, region)
	}
	return "", nil
}

func (s *Server) attributes(form url.Values, name string, of func(*Identity) string) (string, *fault) {
	text := "<" + name + ">"
	for _, d := range listed(form, "Identities") {
		if id := s.Identities[d]; id != nil {
			text += "<entry><key>" + html.EscapeString(d) + "</key><value>" + of(id) + "</value></entry>"
		}
	}
	return text + "</" + name + ">", nil
}

func metadata(name string) string {
	return "<Metadata><Name>" + html.EscapeString(name) + "</Name><CreatedTimestamp>2026-01-01T00:00:00Z</CreatedTimestamp></Metadata>"
}

func (r *Rule) xml() string {
	actions := ""
	if r.Bucket != "" {
		actions = "<member><S3Action><BucketName>" + r.Bucket + "</BucketName><ObjectKeyPrefix>" + r.Prefix + "</ObjectKeyPrefix></S3Action></member>"
	}
	return fmt.Sprintf("<Name>%s</Name><Enabled>%t</Enabled><ScanEnabled>%t</ScanEnabled><TlsPolicy>%s</TlsPolicy><Recipients>%s</Recipients><Actions>%s</Actions>",
		r.Name, r.Enabled, r.Scanned, r.TLS, members(r.Recipients, "%s"), actions)
}

func (s *Server) rules(form url.Values, action, region string) (string, *fault) {
	set, name := form.Get("RuleSetName"), form.Get("RuleName")
	rules, there := s.RuleSets[set]
	switch action {
	case "DescribeActiveReceiptRuleSet":
		if s.Active == "" {
			return "", nil
		}
		return metadata(s.Active), nil
	case "SetActiveReceiptRuleSet":
		if set != "" && !there {
			return "", refuse(400, "RuleSetDoesNotExist", "no such rule set")
		}
		s.Active = set
		return "", nil
	case "CreateReceiptRuleSet":
		if there {
			return "", refuse(400, "AlreadyExists", "it is there")
		}
		s.RuleSets[set] = []*Rule{}
		return "", nil
	}
	if !there {
		return "", refuse(400, "RuleSetDoesNotExist", "no such rule set")
	}
	at := func(name string) int { return slices.IndexFunc(rules, func(r *Rule) bool { return r.Name == name }) }
	switch action {
	case "DescribeReceiptRuleSet":
		text := metadata(set) + "<Rules>"
		for _, r := range rules {
			text += "<member>" + r.xml() + "</member>"
		}
		return text + "</Rules>", nil
	case "DeleteReceiptRuleSet":
		if s.Active == set {
			return "", refuse(400, "CannotDelete", "it is active")
		}
		delete(s.RuleSets, set)
	case "CreateReceiptRule", "UpdateReceiptRule":
		i := at(form.Get("Rule.Name"))
		if (i >= 0) != (action == "UpdateReceiptRule") {
			return "", refuse(400, map[bool]string{true: "AlreadyExists", false: "RuleDoesNotExist"}[i >= 0], "%s", action)
		}
		r := &Rule{
			Name: form.Get("Rule.Name"), Enabled: form.Get("Rule.Enabled") == "true", Scanned: form.Get("Rule.ScanEnabled") == "true", TLS: form.Get("Rule.TlsPolicy"),
			Recipients: listed(form, "Rule.Recipients"), Bucket: form.Get("Rule.Actions.member.1.S3Action.BucketName"), Prefix: form.Get("Rule.Actions.member.1.S3Action.ObjectKeyPrefix"),
		}
		if f := s.tryRule(set, r, region); f != nil {
			return "", f
		}
		if i < 0 {
			s.RuleSets[set] = append([]*Rule{r}, rules...)
		} else {
			rules[i] = r
		}
	case "DescribeReceiptRule":
		if at(name) < 0 {
			return "", refuse(400, "RuleDoesNotExist", "no such rule")
		}
		return "<Rule>" + rules[at(name)].xml() + "</Rule>", nil
	case "DeleteReceiptRule":
		s.RuleSets[set] = slices.DeleteFunc(rules, func(r *Rule) bool { return r.Name == name })
	default:
		return "", refuse(400, "InvalidAction", "%s is not played", action)
	}
	return "", nil
}

// tryRule writes into the bucket, as SES does, if the bucket's policy lets it.
func (s *Server) tryRule(set string, r *Rule, region string) *fault {
	if r.Bucket == "" {
		return nil
	}
	source := "arn:aws:ses:" + region + ":" + Account + ":receipt-rule-set/" + set + ":receipt-rule/" + r.Name
	key := r.Prefix + SetupObject
	if r.Bucket != s.Bucket || !allows(s.Settings["policy"], "ses.amazonaws.com", "s3:PutObject", s.arn(key), Account, source) {
		return refuse(400, "InvalidS3Configuration", "Could not write to bucket: %s", r.Bucket)
	}
	s.Objects[key] = []byte("Subject: Amazon SES Setup Notification\r\n\r\n")
	return nil
}

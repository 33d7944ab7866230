package cloud

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/conf"
)

// VersityGW is the profile of servers that are as little of AWS as VersityGW.
const VersityGW = "versitygw"

// Config says which cloud there is to be.
type Config struct {
	Names cloudpolicy.Names
	// MailDays and VersionDays are how long arrived mail and what was
	// overwritten or deleted stay, in days.
	MailDays, VersionDays int
	// Compatible is "" for AWS, or the profile of another server.
	Compatible string
	// Wallets have a role each, where Compatible asks for it.
	Wallets []agentkeys.Wallet
	// Thumbprint of the issuer's authority; AWS finds it out by itself.
	Thumbprint string
	Endpoints  Endpoints
	// Mail is what receives and sorts mail; nil leaves that to somebody else.
	Mail *Mail
}

// Endpoints are where the services are, for a server that is not AWS.
type Endpoints struct{ S3, IAM, STS string }

type file struct {
	Account string `yaml:"account"`
	Region  string `yaml:"region"`
	Bucket  string `yaml:"bucket"`
	Issuer  string `yaml:"issuer"`
	Broker  struct {
		Principal string `yaml:"principal"`
	} `yaml:"broker"`
	Roles struct {
		Data   string `yaml:"data"`
		Broker string `yaml:"broker"`
		Router string `yaml:"router"`
	} `yaml:"roles"`
	SES struct {
		Region   string `yaml:"region"`
		Account  string `yaml:"account"`
		RuleSet  string `yaml:"rule_set"`
		Rule     string `yaml:"rule"`
		Identity string `yaml:"identity"`
	} `yaml:"ses"`
	MailPrefix string `yaml:"mail_prefix"`
	Mail       struct {
		Domains  []string `yaml:"domains"`
		Tags     []string `yaml:"tags"`
		Function struct {
			Name         string `yaml:"name"`
			Package      string `yaml:"package"`
			Architecture string `yaml:"architecture"`
			MemoryMB     int32  `yaml:"memory_mb"`
			Seconds      int32  `yaml:"timeout_seconds"`
			Reserved     int32  `yaml:"reserved_concurrency"`
			LogDays      int32  `yaml:"log_days"`
		} `yaml:"function"`
		Queue struct {
			Name        string `yaml:"name"`
			DeadLetters string `yaml:"dead_letters"`
			Batch       int32  `yaml:"batch_size"`
			Concurrency int32  `yaml:"max_concurrency"`
		} `yaml:"queue"`
		Limits struct {
			Wallet int32 `yaml:"wallet_messages_per_hour"`
			Sender int32 `yaml:"sender_messages_per_hour"`
		} `yaml:"limits"`
		RemoveSource bool   `yaml:"remove_source"`
		PlainSMTP    bool   `yaml:"plain_smtp"`
		AlarmTopic   string `yaml:"alarm_topic"`
		MailFrom     string `yaml:"mail_from"`
		DMARCReports string `yaml:"dmarc_reports"`
	} `yaml:"mail"`
	Keep struct {
		MailDays    int `yaml:"mail_days"`
		VersionDays int `yaml:"version_days"`
	} `yaml:"keep"`
	Compatible string   `yaml:"compatible"`
	Wallets    []string `yaml:"wallets"`
	Thumbprint string   `yaml:"thumbprint"`
	Endpoints  struct {
		S3  string `yaml:"s3"`
		IAM string `yaml:"iam"`
		STS string `yaml:"sts"`
	} `yaml:"endpoints"`
}

var (
	accountForm   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{12}$`) })
	regionForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`) })
	bucketForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`) })
	roleForm      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{1,64}$`) })
	principalForm = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):iam::([0-9]{12}):(role|user)/([A-Za-z0-9+=,.@_/-]+)$`)
	})
	nameForm       = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`) })
	identityForm   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([A-Za-z0-9._%+-]+@)?[a-z0-9-]+(\.[a-z0-9-]+)+$`) })
	thumbprintForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{40}$`) })
)

// brokerServices are those a broker may run on and take its role through.
var brokerServices = []string{"ec2.amazonaws.com", "ecs-tasks.amazonaws.com"}

// Load reads cloud.yaml. Every fault names the setting, its value, what is
// wrong, and what to write.
func Load(path string) (Config, error) {
	var in file
	in.Roles.Data, in.Roles.Broker, in.Roles.Router = "agentkeys-data", "agentkeys-broker", "agentkeys-router"
	in.SES.RuleSet, in.SES.Rule = "agentkeys", "inbound"
	in.MailPrefix, in.Keep.MailDays, in.Keep.VersionDays = "inbound/", 30, 30
	in.Mail.Function.Architecture, in.Mail.Function.MemoryMB, in.Mail.Function.Seconds, in.Mail.Function.LogDays = "arm64", 128, 30, 30
	in.Mail.Queue.Name, in.Mail.Queue.Batch, in.Mail.Queue.Concurrency = "agentkeys-mail", 10, 10
	in.Mail.Limits.Wallet, in.Mail.Limits.Sender = 120, 10_000
	f, err := conf.Read(path, &in)
	if err != nil {
		return Config{}, err
	}
	if in.SES.Region == "" {
		in.SES.Region = in.Region
	}
	if in.SES.Account == "" {
		in.SES.Account = in.Account
	}
	in.check(f)
	mail := in.mail(f)
	c := Config{
		Names: cloudpolicy.Names{
			Partition: partition(in.Region), Account: in.Account, Region: in.Region, Bucket: in.Bucket, Issuer: in.Issuer,
			DataRole: in.Roles.Data, BrokerRole: in.Roles.Broker, RouterRole: in.Roles.Router, Broker: in.Broker.Principal,
			SES:       cloudpolicy.SES(in.SES),
			Plaintext: strings.HasPrefix(in.Endpoints.S3, "http://"),
		},
		MailDays: in.Keep.MailDays, VersionDays: in.Keep.VersionDays, Compatible: in.Compatible, Thumbprint: in.Thumbprint, Endpoints: Endpoints(in.Endpoints),
	}
	if mail != nil {
		c.Mail = mail
		c.Names.Mail = cloudpolicy.Mail{
			Queue: in.Mail.Queue.Name, DeadLetters: in.Mail.Queue.DeadLetters, Function: in.Mail.Function.Name, RemoveSource: in.Mail.RemoveSource,
		}
	}
	for _, s := range in.Wallets {
		w, err := agentkeys.ParseWallet(s)
		if err != nil {
			f.Fault("wallets", s, "it is not a wallet", "write 0x and 40 lowercase hexadecimal digits")
			continue
		}
		c.Wallets = append(c.Wallets, w)
	}
	if err := f.Err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func (in *file) check(f *conf.File) {
	form := func(setting, value string, re func() *regexp.Regexp, cause, cure string) bool {
		if !f.Need(setting, value, cure) {
			return false
		}
		if !re().MatchString(value) {
			f.Fault(setting, value, cause, cure)
			return false
		}
		return true
	}
	form("account", in.Account, accountForm, "it is not an account id", `write its twelve digits in quotes, as "123456789012"`)
	form("region", in.Region, regionForm, "it is not a region", "write one as eu-central-1")
	form("bucket", in.Bucket, bucketForm, "it is not a bucket's name", "write 3 to 63 of a-z, 0-9 and -; a dot breaks TLS")
	if f.Need("issuer", in.Issuer, "write the broker's origin, as https://broker.example.com") {
		f.Origin("issuer", in.Issuer)
		if strings.HasPrefix(in.Issuer, "http://") {
			f.Fault("issuer", in.Issuer, "STS fetches keys over https only", "write https://…")
		}
	}
	in.checkPrincipal(f)
	for _, r := range []struct{ setting, value string }{{"roles.data", in.Roles.Data}, {"roles.broker", in.Roles.Broker}, {"roles.router", in.Roles.Router}} {
		form(r.setting, r.value, roleForm, "it is not a role's name", "write up to 64 letters, digits and +=,.@_-, without a path")
	}
	if in.Roles.Data == in.Roles.Broker || in.Roles.Data == in.Roles.Router || in.Roles.Broker == in.Roles.Router {
		f.Fault("roles", "", "two of the roles have one name, and would have each other's rights", "give each its own name")
	}
	form("ses.region", in.SES.Region, regionForm, "it is not a region", "write the region whose SES receives the mail")
	form("ses.account", in.SES.Account, accountForm, "it is not an account id", "write twelve digits in quotes")
	form("ses.rule_set", in.SES.RuleSet, nameForm, "it is not a rule set's name", "write the name of the receipt rule set; a wildcard would let every rule in")
	form("ses.rule", in.SES.Rule, nameForm, "it is not a rule's name", "write the name of the receipt rule; a wildcard would let every rule in")
	if in.SES.Identity != "" && !identityForm().MatchString(in.SES.Identity) {
		f.Fault("ses.identity", in.SES.Identity, "it is neither a domain nor an address", "write the verified identity that sign-in mail is sent from, or leave it out")
	}
	if in.MailPrefix != "inbound/" {
		f.Fault("mail_prefix", in.MailPrefix, "mail arrives under inbound/, and the mail router looks nowhere else", "write inbound/, or leave it out")
	}
	for _, d := range []struct {
		setting string
		days    int
	}{{"keep.mail_days", in.Keep.MailDays}, {"keep.version_days", in.Keep.VersionDays}} {
		if d.days < 1 || d.days > 3650 {
			f.Fault(d.setting, "", "it is not between 1 and 3650 days", "write a number of days, as 30")
		}
	}
	if in.Thumbprint != "" && !thumbprintForm().MatchString(in.Thumbprint) {
		f.Fault("thumbprint", in.Thumbprint, "it is not the SHA-1 of a certificate", "write 40 lowercase hexadecimal digits, or leave it out: AWS finds it out")
	}
	in.checkCompatible(f)
}

func (in *file) checkPrincipal(f *conf.File) {
	p := in.Broker.Principal
	const cure = "write the ARN of the role or user that the broker runs as, or ecs-tasks.amazonaws.com or ec2.amazonaws.com"
	if !f.Need("broker.principal", p, cure) || slices.Contains(brokerServices, p) {
		return
	}
	m := principalForm().FindStringSubmatch(p)
	switch {
	case strings.HasSuffix(p, ":root"):
		f.Fault("broker.principal", p, "it lets in every user and role of the account whose own policy says so", cure)
	case strings.Contains(p, "*"):
		f.Fault("broker.principal", p, "it lets in more than one", cure)
	case m == nil:
		f.Fault("broker.principal", p, "it is neither the ARN of a role or user nor a service that brokers run on", cure)
	case m[2] != in.Account:
		f.Fault("broker.principal", p, "it is of account "+m[2]+" and not of "+in.Account, "run the broker in the bucket's account, or correct account")
	case m[3] == "role" && slices.Contains([]string{in.Roles.Data, in.Roles.Router, in.Roles.Broker}, m[4]):
		f.Fault("broker.principal", p, "it is one of the roles that are made here", "write who takes the role, which is another")
	}
}

func (in *file) checkCompatible(f *conf.File) {
	endpoints := map[string]string{"endpoints.s3": in.Endpoints.S3, "endpoints.iam": in.Endpoints.IAM, "endpoints.sts": in.Endpoints.STS}
	given := 0
	for setting, e := range endpoints {
		if e != "" {
			given++
			f.Origin(setting, e)
		}
	}
	switch in.Compatible {
	case "":
		if given > 0 {
			f.Fault("endpoints", "", "they are another server's than AWS, and compatible does not say whose", "write compatible: versitygw, or leave endpoints out")
		}
		if len(in.Wallets) > 0 {
			f.Fault("wallets", "", "on AWS there is one role for all wallets", "leave wallets out, or write compatible: versitygw")
		}
	case VersityGW:
		if given != len(endpoints) {
			f.Fault("endpoints", "", "a server that is not AWS is found by all three of s3, iam and sts", "write the three origins")
		}
		if len(in.Wallets) == 0 {
			f.Fault("wallets", "", "this server knows no session tags, so that each wallet has a role of its own", "list the wallets")
		}
		if !strings.Contains(in.Broker.Principal, ":user/") {
			f.Fault("broker.principal", in.Broker.Principal, "this server has no sts:AssumeRole, so that the broker is a user there", "write the user's ARN")
		}
		if len(in.Roles.Data) > 64-1-42 {
			f.Fault("roles.data", in.Roles.Data, "with a wallet behind it, it is longer than 64 characters", "write up to 21 characters")
		}
	default:
		f.Fault("compatible", in.Compatible, "there is no such profile", "write versitygw, or leave it out for AWS")
	}
}

// form is how a policy says whose a prefix is, on the server of c.
func (c Config) form() cloudpolicy.Form {
	if c.Compatible == VersityGW {
		return cloudpolicy.Bare(c.Wallets...)
	}
	return cloudpolicy.Variables()
}

// Documents are the policies of c in the form that its server understands.
func (c Config) Documents() []cloudpolicy.Named { return cloudpolicy.All(c.Names, c.form()) }

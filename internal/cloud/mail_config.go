package cloud

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/litentry/agentkeys/internal/conf"
)

// Mail says what receives and sorts mail in the cloud. The names of the queues
// and of the function are in Names.Mail, because policies speak of them.
type Mail struct {
	// Domains are those whose mail SES takes, all of it.
	Domains []string
	// Tags are those of addresses that belong to wallets; who loads the
	// configuration fills in those of the catalogue if there are none.
	Tags []string
	// Package is the path of the function's zip.
	Package string
	// Architecture is arm64 or amd64.
	Architecture string
	MemoryMB     int32
	// Seconds is how long the function may take for a batch.
	Seconds int32
	// Reserved is how many of the function run at once, at least and at most; 0
	// leaves it to the account.
	Reserved int32
	// Batch is the number of messages to a call; Concurrency that of calls at
	// once.
	Batch, Concurrency int32
	LogDays            int32
	// WalletPerHour and SenderPerHour are how many messages one running function
	// places for a wallet, and of a sender; 0 is no limit.
	WalletPerHour, SenderPerHour int32
	// PlainSMTP lets in mail from servers that speak no TLS.
	PlainSMTP bool
	// AlarmTopic is the SNS topic that alarms are sent to, as an ARN; "" is none.
	AlarmTopic string
	// MailFrom is the subdomain of each domain that is the envelope sender of
	// what SES sends; "" leaves it at Amazon's.
	MailFrom string
	// DMARCReports is the address that DMARC's reports go to; "" is none.
	DMARCReports string
}

// mostDomains is how many domains there may be: SES takes 100 recipients to a
// rule, and what apply made is recorded in the queue's tags, of which there are 50.
const mostDomains = 20

// logDays are those that CloudWatch Logs takes, up to a year.
var logDays = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365}

var (
	// A domain is recorded in a tag's key, which has 128 characters.
	domainForm = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	})
	labelForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })
	queueForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,75}$`) })
	functionForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) })
	tagForm      = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,4}$`) })
	topicForm    = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]+):([0-9]{12}):[A-Za-z0-9_-]{1,256}$`)
	})
	addressForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+$`) })
)

// mail checks the part about mail, and returns nil if there is none.
func (in *file) mail(f *conf.File) *Mail {
	if !f.Has("mail") {
		return nil
	}
	m := &in.Mail
	form := func(setting, value string, re func() *regexp.Regexp, cause, cure string) {
		if value != "" && !re().MatchString(value) {
			f.Fault(setting, value, cause, cure)
		}
	}
	within := func(setting string, n, least, most int32, cause, cure string) {
		if n < least || n > most {
			f.Fault(setting, "", cause, cure)
		}
	}
	in.checkDomains(f)
	for i, t := range m.Tags {
		form("mail.tags", t, tagForm, "it is not a tag of mail addresses", "write 2 to 4 lowercase letters, or leave tags out for those of the catalogue")
		if slices.Contains(m.Tags[:i], t) {
			f.Fault("mail.tags", t, "it is there twice", "write it once")
		}
	}
	if m.Function.Name == "" {
		m.Function.Name = in.Roles.Router
	}
	if m.Queue.DeadLetters == "" {
		m.Queue.DeadLetters = m.Queue.Name + "-dead"
	}
	form("mail.function.name", m.Function.Name, functionForm, "it is not a function's name", "write up to 64 letters, digits, _ and -; without it, it is roles.router")
	f.Need("mail.function.package", m.Function.Package, "write the path of the zip that 'make mailrouter' leaves, as dist/mailrouter-arm64.zip")
	if m.Function.Architecture != "arm64" && m.Function.Architecture != "amd64" {
		f.Fault("mail.function.architecture", m.Function.Architecture, "there is no such package", "write arm64 or amd64, as the package's name says")
	}
	within("mail.function.memory_mb", m.Function.MemoryMB, 128, 3008, "it is not between 128 and 3008", "write 128: mail is copied in the cloud and never held in memory")
	within("mail.function.timeout_seconds", m.Function.Seconds, 5, 120, "it is not between 5 and 120 seconds", "write 30")
	within("mail.function.reserved_concurrency", m.Function.Reserved, 0, 1000, "it is not between 1 and 1000", "write a number, or leave it out")
	if !slices.Contains(logDays, m.Function.LogDays) {
		f.Fault("mail.function.log_days", "", "CloudWatch keeps logs for certain numbers of days only", "write one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365")
	}
	form("mail.queue.name", m.Queue.Name, queueForm, "it is not a queue's name", "write up to 75 letters, digits, _ and -")
	form("mail.queue.dead_letters", m.Queue.DeadLetters, func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`) }, "it is not a queue's name", "write up to 80 letters, digits, _ and -")
	f.Need("mail.queue.name", m.Queue.Name, "write a queue's name, or leave it out")
	if m.Queue.Name == m.Queue.DeadLetters {
		f.Fault("mail.queue.dead_letters", m.Queue.DeadLetters, "what failed would come back into the same queue for ever", "give it its own name")
	}
	within("mail.queue.batch_size", m.Queue.Batch, 1, 10, "it is not between 1 and 10", "write 10")
	within("mail.queue.max_concurrency", m.Queue.Concurrency, 2, 1000, "it is not between 2 and 1000, as Lambda takes it", "write 10")
	const many = 1_000_000_000
	within("mail.limits.wallet_messages_per_hour", m.Limits.Wallet, 0, many, "it is not between 0 and 1000000000", "write 120, or 0 for no limit")
	within("mail.limits.sender_messages_per_hour", m.Limits.Sender, 0, many, "it is not between 0 and 1000000000", "write 10000, or 0 for no limit")
	if m.Function.Reserved > 0 && m.Queue.Concurrency > m.Function.Reserved {
		f.Fault("mail.queue.max_concurrency", "", "it is more than reserved_concurrency, so that messages are thrown back until they count as failed", "write no more than reserved_concurrency")
	}
	if form("mail.alarm_topic", m.AlarmTopic, topicForm, "it is not the ARN of an SNS topic", "write it as arn:aws:sns:eu-central-1:123456789012:alarms, or leave it out"); m.AlarmTopic != "" {
		if p := topicForm().FindStringSubmatch(m.AlarmTopic); p != nil && p[2] != in.Region {
			f.Fault("mail.alarm_topic", m.AlarmTopic, "an alarm reaches topics of its own region only", "name a topic in "+in.Region)
		}
	}
	form("mail.mail_from", m.MailFrom, labelForm, "it is not a subdomain's label", "write one label, as bounce for bounce.mail.example.com")
	form("mail.dmarc_reports", m.DMARCReports, addressForm, "it is not an address", "write an address that somebody reads, or leave it out")
	if in.SES.Account != in.Account {
		f.Fault("ses.account", in.SES.Account, "the mail part is made with the credentials of account, which reach no other", "leave ses.account out, or leave mail out and have the other account set it up")
	}
	return &Mail{
		Domains: m.Domains, Tags: m.Tags, Package: f.Path(m.Function.Package), Architecture: m.Function.Architecture,
		MemoryMB: m.Function.MemoryMB, Seconds: m.Function.Seconds, Reserved: m.Function.Reserved, Batch: m.Queue.Batch, Concurrency: m.Queue.Concurrency,
		LogDays: m.Function.LogDays, WalletPerHour: m.Limits.Wallet, SenderPerHour: m.Limits.Sender, PlainSMTP: m.PlainSMTP, AlarmTopic: m.AlarmTopic, MailFrom: m.MailFrom, DMARCReports: m.DMARCReports,
	}
}

func (in *file) checkDomains(f *conf.File) {
	const cure = "list the domains that mail is for, as [mail.example.com]"
	if len(in.Mail.Domains) == 0 {
		f.Fault("mail.domains", "", "it is needed", cure)
	}
	if len(in.Mail.Domains) > mostDomains {
		f.Fault("mail.domains", "", "they are more than 20", "use fewer: every wallet has addresses at each")
	}
	for i, d := range in.Mail.Domains {
		switch {
		case !domainForm().MatchString(d) || len(d) > 100:
			f.Fault("mail.domains", d, "it is not a domain", "write it in lowercase, with xn-- for other letters, up to 100 characters, as mail.example.com")
		case slices.Contains(in.Mail.Domains[:i], d):
			f.Fault("mail.domains", d, "it is there twice", "write it once")
		case strings.HasSuffix(in.Mail.DMARCReports, "@"+d):
			f.Fault("mail.dmarc_reports", in.Mail.DMARCReports, "nobody reads mail there but the router, which ignores it", "write an address at another domain")
		}
	}
}

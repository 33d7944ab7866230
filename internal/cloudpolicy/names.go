package cloudpolicy

import (
	"strings"

	"github.com/litentry/agentkeys"
)

// Tag is the session tag that says whose session it is.
const Tag = "agentkeys_user_wallet"

const (
	principalTag = "aws:PrincipalTag/" + Tag
	requestTag   = "aws:RequestTag/" + Tag
	ownVariable  = "${" + principalTag + "}"
	// anyWallet is the shape of a wallet, as far as a pattern can say it.
	anyWallet = "0x????????????????????????????????????????"
	// SubjectPrefix stands before the wallet in a web-identity token's subject.
	SubjectPrefix = "agentkeys:wallet:"
	// Audience is that of a web-identity token for STS.
	Audience = "sts.amazonaws.com"
	// mailDir is where mail arrives, before anybody knows whose it is.
	mailDir = "inbound/"
	// refusedDir is where the router keeps what can never be sorted.
	refusedDir = "refused/"
)

// MailTag and MailTagValue are the one tag of objects: that of mail the router
// has sorted or refused. The bucket's lifecycle knows mail by it, because keys
// lie below the same bots/<wallet>/.
const MailTag, MailTagValue = "agentkeys", "mail"

// tagged is where the router writes: a wallet's inbox, with the wallet written
// out as far as a pattern can. * reaches over slashes, so that bots/*/inbound/*
// would also be what somebody names so below credentials/.
func (n Names) tagged() []string {
	return []string{n.objects("bots/" + anyWallet + "/inbound/*"), n.objects(refusedDir + "*")}
}

// Names are the names that the documents are about. All are taken as given:
// who reads them from a file checks them.
type Names struct {
	Partition string // aws, aws-cn, aws-us-gov
	Account   string // twelve digits
	Region    string
	Bucket    string
	Issuer    string // the broker's origin, https://…
	// The roles, each its name without a path.
	DataRole, BrokerRole, RouterRole string
	// Broker is who may take the broker's role: an ARN, or an AWS service such
	// as ecs-tasks.amazonaws.com.
	Broker string
	SES    SES
	Mail   Mail
	// Plaintext leaves out the Deny of requests without TLS: for a server on
	// loopback only.
	Plaintext bool
}

// SES is where mail comes from and goes out.
type SES struct {
	Region, Account string
	RuleSet, Rule   string // the receipt rule that writes to the bucket
	Identity        string // the domain or address that sign-in mail is sent from; "" sends none
}

// Mail is what sorts the mail that arrives. The zero value is of a cloud where
// somebody else runs the router, or nobody.
type Mail struct {
	// Queue tells the router of mail, and DeadLetters holds what it failed at:
	// names; "" if there are none.
	Queue, DeadLetters string
	// Function is the router's, and names its log group; "" is the role's name.
	Function string
	// RemoveSource lets the router delete from inbound/ what it has sorted.
	RemoveSource bool
}

// QueueARN is the ARN of a queue of n's account, in the bucket's region: S3
// notifies no other.
func (n Names) QueueARN(queue string) string {
	return "arn:" + n.Partition + ":sqs:" + n.Region + ":" + n.Account + ":" + queue
}

// RouterFunction is the name of the router's function.
func (n Names) RouterFunction() string {
	if n.Mail.Function != "" {
		return n.Mail.Function
	}
	return n.RouterRole
}

// BucketARN is the ARN of the bucket.
func (n Names) BucketARN() string { return n.bucket() }

func (n Names) bucket() string { return "arn:" + n.Partition + ":s3:::" + n.Bucket }

func (n Names) objects(pattern string) string { return n.bucket() + "/" + pattern }

// RoleARN is the ARN of a role of n's account.
func (n Names) RoleARN(role string) string {
	return "arn:" + n.Partition + ":iam::" + n.Account + ":role/" + role
}

// provider is the issuer as IAM names it: without the scheme, in ARNs and in
// condition keys.
func (n Names) provider() string { return strings.TrimPrefix(n.Issuer, "https://") }

// ProviderARN is the ARN of the issuer's OIDC provider.
func (n Names) ProviderARN() string {
	return "arn:" + n.Partition + ":iam::" + n.Account + ":oidc-provider/" + n.provider()
}

// mailRule is what SES names as the source of what it writes.
func (n Names) mailRule() string {
	return "arn:" + n.Partition + ":ses:" + n.SES.Region + ":" + n.SES.Account + ":receipt-rule-set/" + n.SES.RuleSet + ":receipt-rule/" + n.SES.Rule
}

// Form is how a document says "one's own".
type Form struct {
	wallets []agentkeys.Wallet
	bare    bool
}

// Variables is the form for AWS: one statement for everybody, with the tag as a
// variable.
func Variables() Form { return Form{} }

// Unrolled is the form for a server that knows session tags and substitutes no
// variables: the statements repeat, each wallet with its literal prefix and a
// condition on the tag.
func Unrolled(wallets ...agentkeys.Wallet) Form { return Form{wallets: wallets} }

// Bare is the form for a server without session tags and aws:PrincipalArn, such
// as VersityGW: every wallet has a role of its own, WalletRole, which it alone
// may take, and whose name is the Principal of what the bucket denies it. What
// such a server lacks is left out: the router's and SES's statements, those on
// tags, and a bucket's with NotAction or NotResource, which VersityGW overlooks.
// So there the bucket holds less, and the roles' own policies must be right.
func Bare(wallets ...agentkeys.Wallet) Form { return Form{wallets: wallets, bare: true} }

// WalletRole is the name of a wallet's own role in the bare form.
func (n Names) WalletRole(w agentkeys.Wallet) string { return n.DataRole + "-" + w.String() }

// owner is one repetition of the statements.
type owner struct {
	prefix string      // bots/<own>/
	sid    string      // added to a Sid, to tell the repetitions apart
	role   string      // in the bare form
	tagged []Condition // narrows an Allow to the owner
	theirs []Condition // narrows a Deny to the owner
}

func (f Form) owners(n Names) []owner {
	if f.wallets == nil {
		return []owner{{prefix: "bots/" + ownVariable + "/", tagged: []Condition{{"Null", principalTag, []string{"false"}}}}}
	}
	var list []owner
	for _, w := range f.wallets {
		o := owner{prefix: "bots/" + w.String() + "/", sid: w.String(), role: n.WalletRole(w), tagged: []Condition{{"StringEquals", principalTag, []string{w.String()}}}}
		if f.bare {
			o.tagged = nil
		} else {
			// A tag of two values, which one server takes, is then held to both
			// prefixes, which is to none: where aws:PrincipalArn counts, which on
			// that server it does not.
			o.theirs = []Condition{{"ForAnyValue:StringEquals", principalTag, []string{w.String()}}}
		}
		list = append(list, o)
	}
	return list
}

// subject is what the subject of a token must be.
func (f Form) subject(key string) Condition {
	if !f.bare {
		return Condition{"StringLike", key, []string{SubjectPrefix + anyWallet}}
	}
	var exact []string
	for _, w := range f.wallets {
		exact = append(exact, SubjectPrefix+w.String())
	}
	return Condition{"StringEquals", key, exact}
}

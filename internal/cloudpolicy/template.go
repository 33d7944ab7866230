package cloudpolicy

import "slices"

func document(list ...Statement) Document { return Document{Version: Version, Statements: list} }

func one(s string) []string { return []string{s} }

// notAWallet are the ASCII characters that a tag may have and a wallet may not:
// a tag with any of them is refused. Patterns have no classes, so that each is
// named; letters beyond ASCII are left, and only the broker mints tags.
const notAWallet = "ABCDEFGHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwyz /.:_=+-@"

func noWallets() []string {
	list := []string{"0x*x*"}
	for _, c := range notAWallet {
		list = append(list, "*"+string(c)+"*")
	}
	return list
}

// DataTrust is the trust policy of the data role: a token of the broker, for
// STS, of a wallet, with that wallet as its only session tag. A token without
// the tag would otherwise still get a session.
func DataTrust(n Names, f Form) Document {
	s := Statement{
		SID: "WalletsOfTheBroker", Effect: Allow,
		Principal: &Principals{Federated: one(n.ProviderARN())},
		Action:    []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession"},
		Condition: []Condition{{"StringEquals", n.provider() + ":aud", one(Audience)}, f.subject(n.provider() + ":sub")},
	}
	if !f.bare {
		s.Condition = append(s.Condition,
			Condition{"StringLike", requestTag, one(anyWallet)},
			Condition{"StringNotLike", requestTag, noWallets()},
			Condition{"Null", requestTag, one("false")},
			Condition{"ForAllValues:StringEquals", "aws:TagKeys", one(Tag)},
			Condition{"Null", "aws:TagKeys", one("false")},
		)
	}
	return document(s)
}

// DataPermissions is what a wallet's session may do: everything below its own
// prefix that a wallet needs, and nothing without the tag.
func DataPermissions(n Names, f Form) Document {
	var list []Statement
	for _, o := range f.owners(n) {
		list = append(list,
			Statement{
				SID: "ListOwn" + o.sid, Effect: Allow, Action: one("s3:ListBucket"), Resource: one(n.bucket()),
				Condition: append(only(Condition{"StringLike", "s3:prefix", one(o.prefix + "*")}), o.tagged...),
			},
			Statement{
				SID: "ReadOwnMail" + o.sid, Effect: Allow, Action: one("s3:GetObject"), Resource: one(n.objects(o.prefix + "inbound/*")),
				Condition: o.tagged,
			},
			Statement{
				SID: "KeepOwnCredentials" + o.sid, Effect: Allow, Action: []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"},
				Resource: one(n.objects(o.prefix + "credentials/*")), Condition: o.tagged,
			})
	}
	return document(list...)
}

func only(c Condition) []Condition { return []Condition{c} }

// BrokerTrust lets n.Broker take the broker's role.
func BrokerTrust(n Names) Document {
	s := Statement{SID: "TheBroker", Effect: Allow, Action: one("sts:AssumeRole")}
	if parts, isARN := splitARN(n.Broker); isARN && parts[4] != "" {
		s.Principal = &Principals{AWS: one(n.Broker)}
		return document(s)
	}
	s.Principal = &Principals{Service: one(n.Broker)}
	if n.Broker == "ecs-tasks.amazonaws.com" {
		// Otherwise ECS could be made to take the role for another account's task.
		s.Condition = only(Condition{"StringEquals", "aws:SourceAccount", one(n.Account)})
	}
	return document(s)
}

// BrokerPermissions lets the broker read its own sign-in mail and send some,
// and never a service's mail or a credential.
func BrokerPermissions(n Names) Document {
	list := []Statement{
		{SID: "ListInbound", Effect: Allow, Action: one("s3:ListBucket"), Resource: one(n.bucket()), Condition: only(Condition{"StringLike", "s3:prefix", one(mailDir + "*")})},
		{SID: "ReadInbound", Effect: Allow, Action: one("s3:GetObject"), Resource: one(n.objects(mailDir + "*"))},
	}
	if n.SES.Identity != "" {
		list = append(list, Statement{
			SID: "SendSignInMail", Effect: Allow, Action: one("ses:SendEmail"),
			Resource: one("arn:" + n.Partition + ":ses:" + n.SES.Region + ":" + n.SES.Account + ":identity/" + n.SES.Identity),
		})
	}
	return document(append(list, Statement{
		SID: "NeverServiceMailOrCredentials", Effect: Deny, Action: one("s3:*"),
		Resource: []string{n.objects("bots/*/inbound/*"), n.objects("bots/*/credentials/*")},
	})...)
}

// RouterTrust lets Lambda take the mail router's role.
func RouterTrust(n Names) Document {
	return document(Statement{
		SID: "TheRouter", Effect: Allow, Principal: &Principals{Service: one("lambda.amazonaws.com")}, Action: one("sts:AssumeRole"),
	})
}

// RouterPermissions lets the mail router copy mail to whom it is for, or to
// where what can never be sorted is kept, tag it there so that it expires, and
// write its own log. Listing is there for S3's sake, which says of an object that is gone that it is gone
// only to who may list, and otherwise that it is denied.
func RouterPermissions(n Names) Document {
	list := []Statement{
		{SID: "ListInbound", Effect: Allow, Action: one("s3:ListBucket"), Resource: one(n.bucket()), Condition: only(Condition{"StringLike", "s3:prefix", one(mailDir + "*")})},
		{SID: "ReadInbound", Effect: Allow, Action: one("s3:GetObject"), Resource: one(n.objects(mailDir + "*"))},
		{SID: "DeliverMail", Effect: Allow, Action: one("s3:PutObject"), Resource: one(n.objects("bots/*/inbound/*"))},
		{SID: "KeepRefused", Effect: Allow, Action: one("s3:PutObject"), Resource: one(n.objects(refusedDir + "*"))},
		{SID: "LetMailExpire", Effect: Allow, Action: one("s3:PutObjectTagging"), Resource: n.tagged()},
	}
	if n.Mail.RemoveSource {
		list = append(list, Statement{SID: "RemoveSorted", Effect: Allow, Action: one("s3:DeleteObject"), Resource: one(n.objects(mailDir + "*"))})
	}
	if n.Mail.Queue != "" {
		list = append(list, Statement{
			SID: "TakeWork", Effect: Allow, Action: []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
			Resource: one(n.QueueARN(n.Mail.Queue)),
		})
	}
	return document(append(list, Statement{
		SID: "WriteOwnLog", Effect: Allow, Action: []string{"logs:CreateLogStream", "logs:PutLogEvents"},
		Resource: one("arn:" + n.Partition + ":logs:" + n.Region + ":" + n.Account + ":log-group:/aws/lambda/" + n.RouterFunction() + ":*"),
	})...)
}

// QueuePolicy lets S3 tell of what arrives in the one bucket, and answers
// nobody without TLS. Who may receive is said by the router's own policy.
func QueuePolicy(n Names) Document {
	arn := n.QueueARN(n.Mail.Queue)
	return document(
		noPlaintext(arn),
		Statement{
			SID: "AllowNotifications", Effect: Allow, Principal: &Principals{Service: one("s3.amazonaws.com")}, Action: one("sqs:SendMessage"), Resource: one(arn),
			// The account too: a bucket's name is anybody's once the bucket is deleted.
			Condition: []Condition{{"StringEquals", "aws:SourceAccount", one(n.Account)}, {"ArnEquals", "aws:SourceArn", one(n.bucket())}},
		})
}

// DeadLetterPolicy answers nobody without TLS. SQS itself moves messages there.
func DeadLetterPolicy(n Names) Document {
	return document(noPlaintext(n.QueueARN(n.Mail.DeadLetters)))
}

func noPlaintext(queue string) Statement {
	return Statement{
		SID: "DenyPlaintext", Effect: Deny, Principal: &Principals{Any: true}, Action: one("sqs:*"), Resource: one(queue),
		Condition: only(Condition{"Bool", "aws:SecureTransport", one("false")}),
	}
}

// BucketPolicy holds everybody to their own whatever their own policies say,
// and lets SES deliver. The roles are named by aws:PrincipalArn: a role as
// Principal becomes a dead id when it is deleted, and the Deny does not come
// back with a new role of the same name.
func BucketPolicy(n Names, f Form) Document {
	both := []string{n.bucket(), n.objects("*")}
	everything := one("s3:*")
	anybody := &Principals{Any: true}
	var list []Statement
	deny := func(s Statement, role string, more ...Condition) {
		if f.bare && (s.NotAction != nil || s.NotResource != nil) {
			return
		}
		s.Effect, s.Principal = Deny, anybody
		if role != "" {
			s.Condition = only(Condition{"ArnEquals", "aws:PrincipalArn", one(role)})
		}
		if f.bare && role != "" {
			s.Principal, s.Condition = &Principals{AWS: one(role)}, nil
		}
		s.Condition = append(s.Condition, more...)
		list = append(list, s)
	}

	if !n.Plaintext {
		deny(Statement{SID: "DenyPlaintext", Action: everything, Resource: both}, "", Condition{"Bool", "aws:SecureTransport", one("false")})
	}
	if !f.bare {
		data := n.RoleARN(n.DataRole)
		deny(Statement{SID: "DenyWithoutWallet", Action: everything, Resource: both}, data, Condition{"Null", principalTag, one("true")})
		deny(Statement{SID: "DenyMalformedWallet", Action: everything, Resource: both}, data, Condition{"StringNotLike", principalTag, one(anyWallet)})
		deny(Statement{SID: "DenyMalformedDigits", Action: everything, Resource: both}, data, Condition{"StringLike", principalTag, noWallets()})
		if f.wallets != nil {
			var listed []string
			for _, w := range f.wallets {
				listed = append(listed, w.String())
			}
			deny(Statement{SID: "DenyUnlistedWallets", Action: everything, Resource: both}, data, Condition{"StringNotEquals", principalTag, listed})
		}
	}
	for _, o := range f.owners(n) {
		data := n.RoleARN(n.DataRole)
		if f.bare {
			data = n.RoleARN(o.role)
		}
		deny(Statement{
			SID: "DenyOutsideOwn" + o.sid, Action: everything,
			NotResource: []string{n.bucket(), n.objects(o.prefix + "inbound/*"), n.objects(o.prefix + "credentials/*")},
		}, data, o.theirs...)
		deny(Statement{SID: "DenyListingOthers" + o.sid, Action: one("s3:ListBucket"), Resource: one(n.bucket())},
			data, append(only(Condition{"StringNotLike", "s3:prefix", one(o.prefix + "*")}), o.theirs...)...)
		if f.wallets == nil || f.bare || o.sid == f.wallets[0].String() { // once a role
			suffix := ""
			if f.bare {
				suffix = o.sid
			}
			deny(Statement{
				SID: "DenyWalletsOtherActions" + suffix, NotAction: []string{"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, Resource: both,
			}, data)
			deny(Statement{
				SID: "DenyWalletsWritingMail" + suffix, Action: []string{"s3:PutObject", "s3:DeleteObject"}, Resource: one(n.objects("bots/*/inbound/*")),
			}, data)
		}
	}

	broker := n.RoleARN(n.BrokerRole)
	if f.bare {
		broker = n.Broker // a user there
	}
	deny(Statement{
		SID: "DenyBrokerServiceMailAndCredentials", Action: everything,
		Resource: []string{n.objects("bots/*/inbound/*"), n.objects("bots/*/credentials/*")},
	}, broker)
	deny(Statement{SID: "DenyBrokerOtherActions", NotAction: []string{"s3:ListBucket", "s3:GetObject"}, Resource: both}, broker)
	deny(Statement{SID: "DenyBrokerOutsideInbound", Action: everything, NotResource: []string{n.bucket(), n.objects(mailDir + "*")}}, broker)
	deny(Statement{SID: "DenyBrokerListingOthers", Action: one("s3:ListBucket"), Resource: one(n.bucket())},
		broker, Condition{"StringNotLike", "s3:prefix", one(mailDir + "*")})
	if f.bare {
		return document(list...)
	}
	// Whoever it is: a key with the tag of mail would expire as mail does.
	deny(Statement{SID: "DenyTaggingCredentials", Action: []string{"s3:PutObjectTagging", "s3:PutObjectVersionTagging"}, Resource: one(n.objects("bots/*/credentials/*"))}, "")
	router := n.RoleARN(n.RouterRole)
	actions := []string{"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"}
	if n.Mail.RemoveSource {
		actions = append(actions, "s3:DeleteObject")
	}
	deny(Statement{SID: "DenyRouterOtherActions", NotAction: actions, Resource: both}, router)
	deny(Statement{SID: "DenyRouterListingOthers", Action: one("s3:ListBucket"), Resource: one(n.bucket())},
		router, Condition{"StringNotLike", "s3:prefix", one(mailDir + "*")})
	deny(Statement{SID: "DenyRouterReadingOthers", Action: one("s3:GetObject"), NotResource: one(n.objects(mailDir + "*"))}, router)
	deny(Statement{SID: "DenyRouterWritingOthers", Action: one("s3:PutObject"), NotResource: []string{n.objects("bots/*/inbound/*"), n.objects(refusedDir + "*")}}, router)
	deny(Statement{SID: "DenyRouterTaggingOthers", Action: one("s3:PutObjectTagging"), NotResource: n.tagged()}, router)
	if n.Mail.RemoveSource {
		deny(Statement{SID: "DenyRouterRemovingOthers", Action: one("s3:DeleteObject"), NotResource: one(n.objects(mailDir + "*"))}, router)
	}
	return document(append(list, Statement{
		SID: "AllowMailIn", Effect: Allow, Principal: &Principals{Service: one("ses.amazonaws.com")},
		Action: one("s3:PutObject"), Resource: one(n.objects(mailDir + "*")),
		Condition: []Condition{{"StringEquals", "aws:SourceAccount", one(n.SES.Account)}, {"ArnEquals", "aws:SourceArn", one(n.mailRule())}},
	})...)
}

// PublicAccessBlock is the bucket's: all four.
type PublicAccessBlock struct {
	BlockPublicAcls       bool
	IgnorePublicAcls      bool
	BlockPublicPolicy     bool
	RestrictPublicBuckets bool
}

// NoPublicAccess blocks all of it.
func NoPublicAccess() PublicAccessBlock { return PublicAccessBlock{true, true, true, true} }

// Named is a document and where it belongs.
type Named struct {
	Name string // data-trust, data-permissions, …
	Kind Kind
	Document
}

// All is every document of n in one form, in the order in which they are
// rendered.
func All(n Names, f Form) []Named {
	list := []Named{
		{"data-trust", Trust, DataTrust(n, f)},
		{"data-permissions", Identity, DataPermissions(n, f)},
		{"broker-trust", Trust, BrokerTrust(n)},
		{"broker-permissions", Identity, BrokerPermissions(n)},
		{"router-trust", Trust, RouterTrust(n)},
		{"router-permissions", Identity, RouterPermissions(n)},
		{"bucket", Bucket, BucketPolicy(n, f)},
	}
	if n.Mail.Queue != "" && !f.bare {
		list = append(list, Named{"queue", Queue, QueuePolicy(n)}, Named{"dead-letters", Queue, DeadLetterPolicy(n)})
	}
	return list
}

// Kind is what a document is attached to.
type Kind string

const (
	Trust    Kind = "trust"    // a role: who may take it
	Identity Kind = "identity" // a role or user: what it may do
	Bucket   Kind = "bucket"   // a bucket: who may do what
	Queue    Kind = "queue"    // an SQS queue: who may do what
)

// KindOf tells the kind of a document from its shape.
func KindOf(d Document) Kind {
	principals := func(s Statement) bool { return s.Principal != nil || s.NotPrincipal != nil }
	if !slices.ContainsFunc(d.Statements, principals) {
		return Identity
	}
	ofQueue := func(r string) bool { parts, ok := splitARN(r); return ok && parts[1] == "sqs" }
	if slices.ContainsFunc(d.Statements, func(s Statement) bool {
		return slices.ContainsFunc(s.Resource, ofQueue) || slices.ContainsFunc(s.NotResource, ofQueue)
	}) {
		return Queue
	}
	if slices.ContainsFunc(d.Statements, func(s Statement) bool { return s.Resource != nil || s.NotResource != nil }) {
		return Bucket
	}
	return Trust
}

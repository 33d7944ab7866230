package importlaw

// ban forbids packages to know others.
type ban struct {
	who  []string // packages of the module
	not  []string // packages, of the module or not
	deep bool     // also through others
	why  string
}

var core = []string{".", "internal/secret", "internal/grant", "internal/envelope", "internal/cloudpolicy", "internal/mailhead"}

// timeless are told the time, as the core is, and may use a library.
var timeless = []string{"internal/mailroute", "internal/verifymail"}

var bans = []ban{
	{
		who: core, deep: true,
		not: []string{"net", "net/http", "os/exec"},
		why: "the core decides and seals: whoever reads it must not have to think of a network or of other programs",
	},
	{
		who: core,
		not: []string{"os", "io/fs", "path/filepath", "syscall", "os/signal", "testing"},
		why: "the core has no I/O: what it needs is an argument",
	},
	{
		who: []string{"internal/book", "internal/audit"}, deep: true,
		not: []string{"internal/envelope", "internal/vault", "internal/signer", "internal/dirblob"},
		why: "who keeps grants or the log cannot decrypt: on a server they are another machine than the keys",
	},
	{
		who: []string{"internal/inject"}, deep: true,
		not: []string{"internal/vault", "catalog", "internal/daemon", "internal/signer", "internal/book"},
		why: "the proxy is what a hostile upstream or agent reaches first: it gets one credential at a time, from its Backend",
	},
	{
		who: []string{"internal/vault"}, deep: true,
		not: []string{"internal/book", "internal/signer", "internal/audit", "internal/durable"},
		why: "the vault seals over any store and any keeper of keys: it knows contracts, not who implements them",
	},
	{
		who: []string{"internal/signer"}, deep: true,
		not: []string{"internal/vault", "internal/dirblob", "internal/book", "net/http"},
		why: "the signer has the roots, and so must have no way to a stored credential",
	},
	{
		who: []string{"internal/netguard", "internal/durable"}, deep: true,
		not: []string{".", "internal/grant", "internal/secret", "internal/inject"},
		why: "they know nothing of what is dialled or written",
	},
	{
		who: []string{"internal/token"},
		not: []string{"net", "net/http", "os", "os/exec", "io/fs"},
		why: "tokens are decided on what they say and what time it is: a library is parsed with, nothing is fetched",
	},
	{
		who: []string{"internal/broker", "internal/broker/brokerhttp", "internal/broker/pages", "internal/brokerclient"}, deep: true,
		not: []string{"internal/envelope", "internal/vault", "internal/signer", "internal/s3blob", "internal/awssts", "internal/dirblob"},
		why: "the broker says who is who: it can neither decrypt nor read what is stored",
	},
	{
		who: []string{"internal/brokersrv"}, deep: true,
		not: []string{"internal/vault", "internal/s3blob", "internal/awssts", "internal/dirblob", "internal/local", "internal/book"},
		why: "the broker's process has no way to a stored credential; of the signer it knows the client alone",
	},
	{
		who: []string{"internal/signersrv", "internal/signerclient", "internal/kmssigner"}, deep: true,
		not: []string{"internal/vault", "internal/s3blob", "internal/awssts", "internal/dirblob", "internal/broker", "internal/book"},
		why: "who answers for keys must have no way to what they open",
	},
	{
		who: []string{"internal/local", "internal/control", "internal/daemon"}, deep: true,
		not: []string{"internal/brokerclient", "internal/signerclient", "internal/s3blob", "internal/awssts"},
		why: "a host knows contracts: only remote joins it with a broker's parts",
	},
	{
		who: []string{"internal/brokerclient"}, deep: true,
		not: []string{"internal/book", "internal/local"},
		why: "a client of the broker knows what the broker says, and nothing of this machine",
	},
	{
		who: []string{"internal/tokenkeys", "internal/siwe"},
		not: []string{"net", "net/http", "internal/signer", "internal/vault"},
		why: "who holds token keys, or reads a message that was signed, fetches nothing and derives nothing",
	},
	{
		who: []string{"internal/s3blob", "internal/awssts"}, deep: true,
		not: []string{"internal/signer", "internal/broker", "internal/book", "internal/token"},
		why: "the store sees ciphertext, and is reached by whoever brings a token",
	},
	{
		who: []string{"internal/mailroute", "internal/verifymail", "internal/mailstore", "internal/mailrouter", "internal/sesmail"},
		not: []string{"net", "net/http", "os", "os/exec", "io/fs", "path/filepath"},
		why: "what decides about mail reads bytes: libraries parse with it, and nothing is fetched",
	},
	{
		who: []string{"internal/mailsrv", "internal/smtpin", "internal/mailbox", "internal/dirmail", "internal/s3mail", "internal/sesmail", "cmd/mailrouter"}, deep: true,
		not: []string{"internal/envelope", "internal/vault", "internal/signer", "internal/broker", "internal/book", "internal/local"},
		why: "what handles mail is what any stranger reaches: it cannot decrypt, and knows no grants",
	},
	{
		who: []string{"cmd/mailrouter"}, deep: true,
		not: []string{"catalog", "internal/mailsrv", "internal/smtpin", "internal/verifymail", "internal/conf"},
		why: "each start of the function is somebody's waiting: it has what routing takes",
	},
	{
		who: []string{"internal/provision/recipe", "internal/provision/har"},
		not: []string{"net", "net/http", "os", "os/exec", "io/fs"},
		why: "what a page shows is data: who judges it reads it, and has no way to act on it but the page's own",
	},
	{
		who: []string{"internal/provision"}, deep: true,
		not: []string{"internal/local", "internal/control", "internal/vault", "internal/envelope", "internal/signer", "internal/chrome"},
		why: "a run knows the vault, the mail and the browser by contracts: cmd joins them",
	},
	{
		who: []string{"internal/chrome"}, deep: true,
		not: []string{"internal/vault", "internal/envelope", "internal/signer", "internal/local", "internal/control", "internal/book"},
		why: "the browser shows whatever a page's owner wants: its process has no way to a stored credential",
	},
	{
		who: []string{"internal/inject", "internal/daemon", "internal/local", "internal/control", "internal/remote"}, deep: true,
		not: []string{"internal/provision", "internal/provision/recipe", "internal/chrome"},
		why: "what has every key in memory drives no browser",
	},
	{
		who: []string{"internal/mint", "internal/federate"}, deep: true,
		not: []string{"internal/vault", "internal/envelope", "internal/signer", "internal/book", "internal/local", "internal/token"},
		why: "who speaks to a service's management has the one secret that it was given",
	},
	{
		who: []string{"internal/keyfile", "internal/keyscan", "internal/terms"}, deep: true,
		not: []string{"internal/vault", "internal/envelope", "internal/signer", "internal/book", "internal/local"},
		why: "what reads files and pages of others has no way to what is stored",
	},
	{
		who: []string{"catalog"}, deep: true,
		not: []string{"net/http", "internal/vault", "internal/book", "internal/inject", "internal/secret"},
		why: "the catalogue says what is so; it does nothing",
	},
}

// ration allows a package to some only.
type ration struct {
	what string
	to   []string // packages, or files of one
	why  string
}

var rations = []ration{
	{"github.com/decred/dcrd/dcrec/secp256k1/v4", []string{"internal/signer"}, "the curve of wallets: a second place that derives keys would be a second custody"},
	{"filippo.io/age", []string{"internal/signer"}, "the roots' file is the only one that a passphrase opens"},
	{"github.com/go-jose/go-jose/v4", []string{"internal/token"}, "one place reads and writes tokens, so that one place pins what is accepted"},
	{"github.com/coreos/go-oidc/v3/oidc", []string{"internal/oidclogin"}, "an adapter has its vendor to itself"},
	{"golang.org/x/oauth2", []string{"internal/oidclogin"}, "an adapter has its vendor to itself"},
	{"github.com/emersion/go-smtp", []string{"internal/smtpin"}, "an adapter has its vendor to itself"},
	{"github.com/emersion/go-msgauth/dkim", []string{"internal/smtpin", "internal/testsrv/mailer"}, "an adapter has its vendor to itself"},
	{"github.com/emersion/go-msgauth/dmarc", []string{"internal/smtpin"}, "an adapter has its vendor to itself"},
	{"blitiri.com.ar/go/spf", []string{"internal/smtpin"}, "an adapter has its vendor to itself"},
	{"github.com/jhillyerd/enmime/v2", []string{"internal/verifymail"}, "one place takes mail apart, so that one place bounds what that costs"},
	{"github.com/fsnotify/fsnotify", []string{"internal/dirmail"}, "an adapter has its vendor to itself"},
	{"github.com/aws/aws-lambda-go/lambda", []string{"cmd/mailrouter"}, "the function alone runs at Lambda"},
	{"internal/dirmail", []string{"internal/local", "internal/mailsrv"}, "services know contracts; adapters are for those that wire"},
	{"internal/s3mail", []string{"internal/remote", "cmd/agentkeys", "cmd/mailrouter"}, "services know contracts; adapters are for those that wire"},
	{"internal/smtpin", []string{"internal/mailsrv"}, "services know contracts; adapters are for those that wire"},
	{"net/smtp", []string{"internal/mailout", "internal/testsrv/mailer"}, "one place talks to mail servers"},
	{"github.com/go-webauthn/webauthn/webauthn", []string{"internal/passkey"}, "an adapter has its vendor to itself"},
	{"github.com/jackc/pgx/v5/pgxpool", []string{"internal/pgstate"}, "an adapter has its vendor to itself"},
	{"modernc.org/sqlite", []string{"internal/sqlitestate"}, "an adapter has its vendor to itself"},
	{"github.com/aws/aws-sdk-go-v2/service/s3", []string{"internal/s3conn", "internal/s3blob", "internal/s3mail", "internal/cloud"}, "the cloud is spoken to where it is the cloud's turn, and nowhere else"},
	{"github.com/aws/aws-sdk-go-v2/service/sts", []string{"internal/awssts", "internal/cloud"}, "the cloud is spoken to where it is the cloud's turn, and nowhere else"},
	{"github.com/aws/aws-sdk-go-v2/service/iam", []string{"internal/cloud"}, "only the cloud commands change who may do what"},
	{"github.com/aws/aws-sdk-go-v2/service/ses", []string{"internal/cloud"}, "only the cloud commands change what receives mail"},
	{"github.com/aws/aws-sdk-go-v2/service/sqs", []string{"internal/cloud"}, "only the cloud commands change what receives mail"},
	{"github.com/aws/aws-sdk-go-v2/service/lambda", []string{"internal/cloud"}, "only the cloud commands change what receives mail"},
	{"github.com/aws/aws-sdk-go-v2/service/cloudwatch", []string{"internal/cloud"}, "only the cloud commands change what receives mail"},
	{"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs", []string{"internal/cloud"}, "only the cloud commands change what receives mail"},
	{"internal/s3conn", []string{"internal/s3blob", "internal/awssts", "internal/s3mail"}, "it is how adapters reach a server, and nobody else does"},
	{"github.com/aws/aws-sdk-go-v2/service/kms", []string{"internal/kmssigner"}, "the signer's roots, and nothing else, may be in a KMS"},
	{"github.com/prometheus/client_golang/prometheus", []string{"internal/webserve", "internal/brokersrv", "internal/signersrv", "internal/mailsrv"}, "metrics are made where serving is"},
	{"internal/s3blob", []string{"internal/remote"}, "services know contracts; adapters are for those that wire"},
	{"internal/awssts", []string{"internal/remote"}, "services know contracts; adapters are for those that wire"},
	{"internal/sqlitestate", []string{"internal/brokersrv"}, "services know contracts; adapters are for those that wire"},
	{"internal/pgstate", []string{"internal/brokersrv"}, "services know contracts; adapters are for those that wire"},
	{"internal/kmssigner", []string{"cmd/agentkeys"}, "services know contracts; adapters are for those that wire"},
	{"github.com/zalando/go-keyring", []string{"internal/keychain"}, "an adapter has its vendor to itself"},
	{"github.com/spf13/cobra", []string{"cmd/agentkeys"}, "flags, configuration and wiring are in cmd"},
	{"go.yaml.in/yaml/v3", []string{"catalog", "internal/conf", "internal/cloud/render.go"}, "what is read as YAML goes through a strict reader: the catalogue's, or that of configurations; templates are written"},
	{"internal/testsrv", []string{"cmd/agentkeys/demo_vendor.go", "internal/testsrv/sites"}, "it plays third parties, and answers anybody; only the demo may start it in production"},
	{"internal/testsrv/sites", []string{"cmd/agentkeys/demo_vendor.go", "internal/testsrv/postman"}, "it plays third parties, and answers anybody; only the demo may start it in production"},
	{"internal/testsrv/postman", []string{"cmd/agentkeys/demo_vendor.go"}, "it plays third parties, and answers anybody; only the demo may start it in production"},
	{"internal/testsrv/mailer", []string{"internal/testsrv/postman"}, "it plays third parties, and answers anybody; only the demo may start it in production"},
	{"internal/testsrv/dns", []string{"cmd/agentkeys/demo_vendor.go", "internal/testsrv/mailer", "internal/testsrv/postman"}, "it plays third parties, and answers anybody; only the demo may start it in production"},
	{"internal/chrome", []string{"cmd/agentkeys"}, "services know contracts; adapters are for those that wire"},
	{"github.com/chromedp/chromedp", []string{"internal/chrome"}, "an adapter has its vendor to itself"},
	{"github.com/chromedp/cdproto/fetch", []string{"internal/chrome"}, "an adapter has its vendor to itself"},
	{"internal/mint", []string{"internal/local", "internal/control"}, "the management key of a service is the host's to use"},
	{"internal/dirblob", []string{"internal/local"}, "services know contracts; adapters are for those that wire"},
	{"internal/keychain", []string{"cmd/agentkeys", "internal/device"}, "services know contracts; adapters are for those that wire"},
	{"internal/local", []string{"internal/control", "internal/remote", "cmd/agentkeys"}, "it joins those who decide with those who can decrypt, for a laptop's owner alone"},
}

// adapters implement a service's contract with one vendor each.
var adapters = []string{
	"internal/dirblob", "internal/keychain", "internal/s3blob", "internal/awssts", "internal/kmssigner", "internal/sqlitestate", "internal/pgstate",
	"internal/mailout", "internal/oidclogin", "internal/passkey", "internal/smtpin", "internal/dirmail", "internal/s3mail",
	"internal/chrome",
}

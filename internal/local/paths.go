package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Paths are the directories of one user, each 0700, by the XDG base directory
// specification or, with a home of their own, below one directory.
//
//	Config/services/<id>.yaml     services the user added
//	Config/settings.json          what `services set` changed
//	Config/terms.json             what was decided on the terms of services
//	Config/broker.json            the login at a broker, if there is one
//	Data/roots.age                the signer's two roots
//	Data/custody.json             where the passphrase of roots.age is: keychain or person
//	Data/store/                   the vault's objects
//	Data/marks/                   the highest revision seen of each
//	Data/log/                     the audit log
//	Data/log.vkey                 the key that checks its signatures
//	Data/broker/                  agents, grants, tokens
//	Data/ledger.json              a snapshot of what grants have used
//	Data/minted/                  keys made at services, until they are gone there
//	Data/mail/                    mail that came in on loopback
//	Config/mail.json              how it comes in
//	Data/provision/               the journals of runs that get credentials
//	State/browser/                profiles of browsers that are running
//	Data/lock                     held by the one process that serves all this
//	State/daemon.log              the background process's log
//	Run/control.sock              the owner's socket
//	Run/runs.json                 the processes that run agents
//	Run/agents/<label>.sock       the agents' sockets
//
// With a login at a broker, its own things are below Data/devices/<Device>/ in
// place of Data: marks, log, log.vkey, broker (placeholders only), ledger.json, minted,
// provision.
type Paths struct {
	Config, Data, State, Run string
	// Device names this machine's login at a broker; "": there is none.
	Device string
}

// own is the directory of what belongs to the login, or to the laptop's roots.
func (p Paths) own() string {
	if p.Device != "" {
		return filepath.Join(p.Data, "devices", p.Device)
	}
	return p.Data
}

// PathsFrom resolves the directories from environment variables, read with
// getenv. AGENTKEYS_HOME puts everything below one directory.
func PathsFrom(getenv func(string) string) (Paths, error) {
	if home := getenv("AGENTKEYS_HOME"); home != "" {
		if !filepath.IsAbs(home) {
			return Paths{}, fmt.Errorf("AGENTKEYS_HOME is not an absolute path: %s", home)
		}
		p := Paths{
			Config: filepath.Join(home, "config"), Data: filepath.Join(home, "data"),
			State: filepath.Join(home, "state"), Run: filepath.Join(home, "run"),
		}
		return p.withShortRun(), nil
	}
	home := getenv("HOME")
	dir := func(name, fallback string) (string, error) {
		// The specification has relative values ignored.
		if v := getenv(name); filepath.IsAbs(v) {
			return filepath.Join(v, "agentkeys"), nil
		}
		if !filepath.IsAbs(home) {
			return "", errors.New("neither HOME nor the XDG directories are set")
		}
		return filepath.Join(home, fallback, "agentkeys"), nil
	}
	var p Paths
	var err1, err2, err3 error
	p.Config, err1 = dir("XDG_CONFIG_HOME", ".config")
	p.Data, err2 = dir("XDG_DATA_HOME", ".local/share")
	p.State, err3 = dir("XDG_STATE_HOME", ".local/state")
	if err := errors.Join(err1, err2, err3); err != nil {
		return Paths{}, err1
	}
	if v := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(v) {
		p.Run = filepath.Join(v, "agentkeys")
	} else {
		p.Run = filepath.Join(p.State, "run")
	}
	return p.withShortRun(), nil
}

// withShortRun moves Run below /tmp where the path of a socket in it would be
// longer than the system takes: not below TMPDIR, which differs from shell to
// shell. Its name says whose it is and of which state. Somebody else may make
// it first: then prepare cannot have it, and control.Client does not talk to
// what listens there.
func (p Paths) withShortRun() Paths {
	// Long labels on top of that keep loopback and go without a socket.
	const longest = len("/agents/") + 32 + len(".sock")
	if len(p.Run)+longest <= 103 {
		return p
	}
	sum := sha256.Sum256([]byte(p.Run))
	p.Run = filepath.Join("/tmp", fmt.Sprintf("agentkeys-%d-%s", os.Getuid(), hex.EncodeToString(sum[:4])))
	return p
}

// Roots is the file of the signer's roots.
func (p Paths) Roots() string { return filepath.Join(p.Data, "roots.age") }

// Custody is the file that says where the passphrase of Roots is.
func (p Paths) Custody() string { return filepath.Join(p.Data, "custody.json") }

// Store is the directory of the vault's objects.
func (p Paths) Store() string { return filepath.Join(p.Data, "store") }

// Marks is the directory of the highest revisions seen.
func (p Paths) Marks() string { return filepath.Join(p.own(), "marks") }

// AuditLog is the directory of the audit log.
func (p Paths) AuditLog() string { return filepath.Join(p.own(), "log") }

// LogKey is the file of the key that checks the audit log's signatures.
func (p Paths) LogKey() string { return filepath.Join(p.own(), "log.vkey") }

// Broker is the directory of agents, grants and tokens.
func (p Paths) Broker() string { return filepath.Join(p.own(), "broker") }

// Ledger is the file of the ledger's snapshot.
func (p Paths) Ledger() string { return filepath.Join(p.own(), "ledger.json") }

// Minted is the directory of what is remembered of keys made at services.
func (p Paths) Minted() string { return filepath.Join(p.own(), "minted") }

// Mail is the directory of the mail that came in.
func (p Paths) Mail() string { return filepath.Join(p.Data, "mail") }

// MailSpool is the directory of mail that is coming in.
func (p Paths) MailSpool() string { return filepath.Join(p.Data, "mail-spool") }

// MailSettings is the file that remembers how mail comes in.
func (p Paths) MailSettings() string { return filepath.Join(p.Config, "mail.json") }

// Provision is the directory of the journals of runs that get credentials.
func (p Paths) Provision() string { return filepath.Join(p.own(), "provision") }

// Browser is the directory of the profiles of browsers that are running.
func (p Paths) Browser() string { return filepath.Join(p.State, "browser") }

// Port is the file that remembers the loopback port.
func (p Paths) Port() string { return filepath.Join(p.Data, "port") }

// Lock is the file that the serving process holds locked.
func (p Paths) Lock() string { return filepath.Join(p.Data, "lock") }

// Login is the file of the login at a broker.
func (p Paths) Login() string { return filepath.Join(p.Config, "broker.json") }

// Services is the directory of the services the user added.
func (p Paths) Services() string { return filepath.Join(p.Config, "services") }

// Settings is the file of the user's settings by service.
func (p Paths) Settings() string { return filepath.Join(p.Config, "settings.json") }

// Terms is the file of the decisions on services' terms.
func (p Paths) Terms() string { return filepath.Join(p.Config, "terms.json") }

// DaemonLog is the background process's log.
func (p Paths) DaemonLog() string { return filepath.Join(p.State, "daemon.log") }

// Control is the owner's socket.
func (p Paths) Control() string { return filepath.Join(p.Run, "control.sock") }

// Runs is the file of the processes that run agents.
func (p Paths) Runs() string { return filepath.Join(p.Run, "runs.json") }

// AgentSockets is the directory of the agents' sockets.
func (p Paths) AgentSockets() string { return filepath.Join(p.Run, "agents") }

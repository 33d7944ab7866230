#!/usr/bin/env bash
# Installs what the tests need beside Go, git and make. It can be repeated,
# says what it does, and does nothing where all is there already. With the
# argument demo it installs what the demo can use, and no more.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${AGENTKEYS_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentkeys-dev}
node_version=22.23.3   # for machines whose own node is older than 20

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# program → Debian package
missing=()
need() { have "$1" || missing+=("$2"); }
demo=${1:-}
if [ "$demo" = demo ]; then
	have chromium || have chromium-browser || have google-chrome && exit 0
	if ! have apt-get || { [ "$(id -u)" != 0 ] && ! have sudo; }; then
		say "there is no Chromium: the demo leaves out its sign-up"; exit 0
	fi
	missing=(chromium)
else
need gcc gcc                                  # the race detector
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
need curl curl                                # the documented commands
need tmux tmux                                # sessions on a real terminal
need strace strace                            # failing system calls one by one
need swaks swaks                              # mail from a client that is not ours
perl -MNet::SSLeay -e 1 2>/dev/null || missing+=(libnet-ssleay-perl)   # its TLS
need nginx nginx-light                        # a rival in make bench
need python3 python3                          # a second reading of the signer's vectors
need dbus-daemon dbus-daemon                  # a session bus, and on it
need gnome-keyring-daemon gnome-keyring       # a real OS keychain
need npm npm                                  # JavaScript SDKs
need chromium chromium                        # sign-in pages and passkeys
need unshare util-linux                       # a network of the tests' own
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb || missing+=(postgresql)   # what replicas share
have node || have npm || missing+=(nodejs)
fi

if [ ${#missing[@]} -gt 0 ]; then
	if ! have apt-get; then
		say "please install: ${missing[*]}"; exit 1
	fi
	as_root=()
	if [ "$(id -u)" != 0 ]; then
		have sudo || { say "as root, run: apt-get install ${missing[*]}"; exit 1; }
		as_root=(sudo)
	fi
	say "installing with apt-get: ${missing[*]}"
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "$demo" != demo ] || exit 0

node_major() { node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/'; }
if [ "$(node_major || echo 0)" -lt 20 ] 2>/dev/null || ! have node; then
	case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) say "please install node 20 or newer"; exit 1 ;; esac
	dir=$cache/node
	if [ ! -x "$dir/node_modules/node-linux-$arch/bin/node" ]; then
		say "installing node $node_version into $dir"
		mkdir -p "$dir"
		npm install --silent --no-audit --no-fund --prefix "$dir" "node-linux-$arch@$node_version"
	fi
	PATH=$dir/node_modules/node-linux-$arch/bin:$PATH
fi

# Published test vectors are read from the module cache.
vectors=$(sed -n 's/.*wycheproofModule = "\(.*\)"/\1/p' internal/envelope/wycheproof_test.go)
(cd / && GOFLAGS= go mod download "$vectors")
go mod download

# A real S3 and STS, built from the module proxy once.
version=$(sed -n 's/^\tversion = "\(v[0-9.]*\)"$/\1/p' internal/testsrv/versity/program.go)
if [ ! -x "$cache/bin/versitygw-$version" ]; then
	say "building versitygw $version into $cache/bin, which takes some minutes"
	mkdir -p "$cache/bin/new"
	(cd / && GOBIN=$cache/bin/new GOFLAGS='' GOWORK=off CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@$version")
	mv "$cache/bin/new/versitygw" "$cache/bin/versitygw-$version" && rmdir "$cache/bin/new"
fi

# What `agentkeys scan` asks besides its own rules.
gitleaks=$(sed -n 's/^\tgitleaksVersion = "\(v[0-9.]*\)"$/\1/p' internal/keyscan/gitleaks_test.go)
if [ ! -x "$cache/bin/gitleaks-$gitleaks" ]; then
	say "building gitleaks $gitleaks into $cache/bin"
	mkdir -p "$cache/bin/new"
	(cd / && GOBIN=$cache/bin/new GOFLAGS='' GOWORK=off CGO_ENABLED=0 go install "github.com/zricethezav/gitleaks/v8@$gitleaks")
	mv "$cache/bin/new/gitleaks" "$cache/bin/gitleaks-$gitleaks" && rmdir "$cache/bin/new"
fi

say "ready: $(go version | cut -d' ' -f3), node $(node --version)"

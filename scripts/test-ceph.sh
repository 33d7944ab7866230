#!/usr/bin/env bash
# Runs the campaign against Ceph RADOS Gateway: as root, on Debian or Ubuntu.
# Ceph is installed once, into a chroot in the cache, and runs in namespaces of
# its own, with which all of its processes and mounts go.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${AGENTKEYS_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/agentkeys-dev}
version=20   # of Ceph; the suite that has it:
suite=forky
chroot=$cache/ceph-$version

say() { printf 'test-ceph: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
mounted() { grep -qF " $1/" /proc/self/mountinfo; }

if [ "$(id -u)" != 0 ]; then
	say "a chroot and namespaces take root: run 'sudo make test-ceph'"; exit 1
fi
if [ ! -e "$chroot/ready" ]; then
	if ! have apt-get; then
		say "this machine has no apt-get: run it on Debian or Ubuntu"; exit 1
	fi
	# The mirror that this machine's apt has Debian from.
	mirror=${AGENTKEYS_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Identifier: Packages' | grep -v -e security | sort -u | sed -n 1p || true)}
	if [ -z "$mirror" ]; then
		say "apt has no mirror of Debian here: set AGENTKEYS_DEBIAN_MIRROR to one"; exit 1
	fi
	if ! have mmdebstrap; then
		say "installing with apt-get: mmdebstrap"
		DEBIAN_FRONTEND=noninteractive apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
	fi
	new=$chroot.new
	if mounted "$new"; then
		say "$new has mounts in it: unmount them first"; exit 1
	fi
	rm -rf --one-file-system "$new"
	say "installing Ceph $version of Debian $suite into $chroot, which takes some minutes"
	mkdir -p "$cache"
	# What is installed here stays as it is for good, without a network: a mirror
	# that lags behind will do. Signatures are checked as ever.
	unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=apt \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=ceph-mon,ceph-osd,radosgw,ceph-common "$suite" "$new" "$mirror"
	got=$(chroot "$new" dpkg-query -W -f '${Version}' radosgw)
	case $got in
	$version.*) ;;
	*) say "Debian $suite has Ceph $got now, not $version: see what e2e/ceph says of it, and change the version here"; exit 1 ;;
	esac
	touch "$new/ready"
	rm -rf --one-file-system "$chroot"
	mv "$new" "$chroot"
fi

say "$(chroot "$chroot" dpkg-query -W -f 'Ceph ${Version}' radosgw)"
test=$(mktemp -d)
trap 'rm -rf "$test"' EXIT
go test -c -o "$test/ceph.test" ./e2e/ceph
# Everything that is mounted or started in there ends with it.
(cd e2e/ceph && AGENTKEYS_CEPH=$chroot unshare --mount --propagation private --net --pid --fork --kill-child \
	"$test/ceph.test" -test.count=1 -test.timeout 15m "$@")
if mounted "$chroot"; then
	say "$chroot has mounts in it, which it should not"; exit 1
fi

package provision

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// ours reports whether a request on loopback comes from a program of this user,
// by the kernel's table of connections. Root's are let pass: they are the
// forwarders of ssh and of virtual machines, and root needs no port. Where there
// is no such table, anybody's are.
func ours(r *http.Request) bool {
	here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if here == nil {
		return false
	}
	local, err := netip.ParseAddrPort(here.String())
	if err != nil {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	var table strings.Builder
	for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(f)
		if err == nil {
			table.Write(text)
		}
	}
	uid, told := peerUser(table.String(), local, remote)
	return !told || uid == 0 || uid == os.Getuid()
}

// nobody is the user of a connection whose far end no process holds any more.
const nobody = -1

// peerUser finds the user at the far end of a connection between two ends on this
// machine. told is false if the table knows nothing of the connection, not even
// our end of it.
//
//	sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
func peerUser(table string, local, remote netip.AddrPort) (uid int, told bool) {
	uid = nobody
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		switch {
		case sameEnd(f[1], local) && sameEnd(f[2], remote):
			told = true
		case sameEnd(f[1], remote) && sameEnd(f[2], local):
			told = true
			// One that was closed is in the table as root's.
			const established, noInode = "01", "0"
			if n, err := strconv.Atoi(f[7]); err == nil && f[3] == established && f[9] != noInode {
				uid = n
			}
		}
	}
	return uid, told
}

// sameEnd compares an end as the table has it, in words of the machine's order,
// with an address. One of IPv6 may stand for one of IPv4.
func sameEnd(text string, a netip.AddrPort) bool {
	ip, port, ok := strings.Cut(text, ":")
	if !ok || port != fmt.Sprintf("%04X", a.Port()) {
		return false
	}
	raw, err := hex.DecodeString(ip)
	if err != nil || len(raw)%4 != 0 {
		return false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	got, ok := netip.AddrFromSlice(raw)
	return ok && got.Unmap() == a.Addr().Unmap()
}

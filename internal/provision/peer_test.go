package provision

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// row is a line of the kernel's table.
func row(from, to, state string, uid, inode int) string {
	return fmt.Sprintf("  12: %s %s %s 00000000:00000000 00:00000000 00000000 %5d        0 %d 1 0000000075 20 4 30 10 -1\n",
		tableEnd(from), tableEnd(to), state, uid, inode)
}

func tableEnd(s string) string {
	a := netip.MustParseAddrPort(s)
	var b strings.Builder
	raw := a.Addr().AsSlice()
	for i := 0; i < len(raw); i += 4 {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(raw[i:]))
	}
	return fmt.Sprintf("%s:%04X", b.String(), a.Port())
}

func TestPeerUser(t *testing.T) {
	const here, there, other = "127.0.0.1:40000", "127.0.0.1:50000", "127.0.0.1:50001"
	const mapped = "[::ffff:127.0.0.1]:"
	server := row(here, there, "01", 0, 11)
	for _, c := range []struct {
		name, table string
		uid         int
		told        bool
	}{
		{"no table", "", nobody, false},
		{"a table of nothing", "  sl  local_address rem_address   st\n", nobody, false},
		{"a listener alone", row(here, "0.0.0.0:0", "0A", 7, 11), nobody, false},
		{"its user", server + row(there, here, "01", 1000, 12), 1000, true},
		{"root", server + row(there, here, "01", 0, 12), 0, true},
		{"by IPv6", server + row(mapped+"50000", mapped+"40000", "01", 1000, 12), 1000, true},
		{"another connection's", server + row(other, here, "01", 1000, 12), nobody, true},
		{"closed: it is no root's", server + row(there, here, "06", 0, 0), nobody, true},
		{"closed half", server + row(there, here, "04", 0, 0), nobody, true},
		{"closing", server + row(there, here, "05", 0, 12), nobody, true},
		{"held by none", server + row(there, here, "01", 0, 0), nobody, true},
		{"gone", server, nobody, true},
		{"noise", "x\n" + strings.Repeat("zz:zz ", 12) + "\n" + server, nobody, true},
		{"no number", server + strings.Replace(row(there, here, "01", 4242, 12), "4242", "root", 1), nobody, true},
	} {
		uid, told := peerUser(c.table, netip.MustParseAddrPort(here), netip.MustParseAddrPort(there))
		if uid != c.uid || told != c.told {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, uid, told, c.uid, c.told)
		}
	}
}

package envelope

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// invalidNames: the same envelope asked for by another name. Under the key of
// that name the commitment fails; under the key that sealed it, the tag.
func (f *forge) invalidNames() {
	h := Header{3, 9}
	own := kekFor(aliceRouter, h.Epoch)
	b := f.seal("swap", own, aliceRouter, h, sample([]byte("s")))
	for _, c := range []struct {
		id   string
		name vectorName
	}{
		{"service", aliceBrave},
		{"wallet", bobRouter},
		{"both", vectorName{bobRouter.Wallet, aliceBrave.Service}},
		{"service-cut", vectorName{aliceRouter.Wallet, "openroute"}},
		{"service-longer", vectorName{aliceRouter.Wallet, "openrouter0"}},
		{"wallet-digit", vectorName{"0x52908400098527886e0f7030069857d2e4169ee6", "openrouter"}},
	} {
		f.invalid("swap/"+c.id+"/key-of-that-name", kekFor(c.name, h.Epoch), c.name, b, "commitment")
		f.invalid("swap/"+c.id+"/same-key", own, c.name, b, "decrypt")
	}
	f.invalid("swap/key-of-another-epoch", kekFor(aliceRouter, 2), aliceRouter, b, "commitment")
	bit, _ := hex.DecodeString(own)
	bit[31] ^= 1
	f.invalid("swap/key-bit", hex.EncodeToString(bit), aliceRouter, b, "commitment")
}

// invalidHeaders: every field of an honest header changed, field by field.
func (f *forge) invalidHeaders() {
	h := Header{0x01020304, 0x0102030405060708}
	kek := kekFor(aliceRouter, h.Epoch)
	b := f.seal("header", kek, aliceRouter, h, sample([]byte("s")))
	edit := func(id string, result string, change func(b []byte)) {
		c := bytes.Clone(b)
		change(c)
		f.invalid(id, kek, aliceRouter, c, result)
	}
	for _, v := range []byte{0x00, 0x02, 0x81, 0xff} {
		edit(fmt.Sprintf("version/%#02x", v), "version", func(b []byte) { b[0] = v })
	}
	edit("epoch/next", "decrypt", func(b []byte) { b[4]++ })
	edit("epoch/little-endian", "decrypt", func(b []byte) { copy(b[1:], "\x04\x03\x02\x01") })
	edit("epoch/zero", "zero", func(b []byte) { clear(b[1:5]) })
	edit("revision/next", "decrypt", func(b []byte) { b[12]++ })
	edit("revision/previous", "decrypt", func(b []byte) { b[12]-- })
	edit("revision/zero", "zero", func(b []byte) { clear(b[5:13]) })
	edit("salt/zero", "commitment", func(b []byte) { clear(b[saltAt:commitmentAt]) })
	edit("commitment/zero", "commitment", func(b []byte) { clear(b[commitmentAt:headerSize]) })
	edit("tag/zero", "decrypt", func(b []byte) { clear(b[len(b)-tagSize:]) })
	for _, field := range []struct {
		name     string
		from, to int
		result   string
	}{
		{"epoch", 1, 5, "decrypt"}, {"revision", 5, saltAt, "decrypt"},
		{"salt", saltAt, commitmentAt, "commitment"}, {"commitment", commitmentAt, headerSize, "commitment"},
		{"ciphertext", headerSize, len(b) - tagSize, "decrypt"}, {"tag", len(b) - tagSize, len(b), "decrypt"},
	} {
		last := field.to - field.from - 1
		for _, at := range []struct{ byte, bit int }{{0, 7}, {0, 0}, {last / 2, 3}, {last, 7}, {last, 0}} {
			edit(fmt.Sprintf("flip/%s/byte-%d-bit-%d", field.name, at.byte, at.bit), field.result,
				func(b []byte) { b[field.from+at.byte] ^= 1 << at.bit })
		}
	}
	// Authentic, so that only the rule that they start at 1 refuses them.
	for id, h := range []Header{{0, 1}, {1, 0}} {
		f.invalid(fmt.Sprintf("zero-sealed/%d", id), kek, aliceRouter,
			f.sealRaw("zero", kek, aliceRouter, h, padded(`{"v":1}`)), "zero")
	}
}

// invalidBytes: cut, extended, oversized.
func (f *forge) invalidBytes() {
	h := Header{1, 2}
	kek := kekFor(aliceRouter, h.Epoch)
	b := f.seal("bytes", kek, aliceRouter, h, sample(stream("bytes", 300)))
	for _, n := range []int{0, 1, 4, 5, 13, 45, 76, 77, 78, 92, 93, 94, minSealed - 1} {
		f.invalid(fmt.Sprintf("cut/to-%d", n), kek, aliceRouter, b[:n], "truncated")
	}
	f.invalid("cut/other-version", kek, aliceRouter, []byte{2}, "version") // its lengths are its own
	for _, n := range []int{minSealed, len(b) - padUnit, len(b) - tagSize, len(b) - 1} {
		f.invalid(fmt.Sprintf("cut/to-%d", n), kek, aliceRouter, b[:n], "decrypt")
	}
	for _, n := range []int{1, tagSize, padUnit} {
		f.invalid(fmt.Sprintf("extended/by-%d", n), kek, aliceRouter, append(bytes.Clone(b), make([]byte, n)...), "decrypt")
	}
	f.invalid("extended/in-front", kek, aliceRouter, append([]byte{0}, b...), "version")
	f.invalid("twice", kek, aliceRouter, append(bytes.Clone(b), b...), "decrypt")
	big := bytes.Repeat([]byte{0}, MaxPlaintext+padUnit)
	copy(big, canonical)
	f.invalid("oversize/authentic", kek, aliceRouter, f.sealRaw("oversize", kek, aliceRouter, h, big), "too-large")
}

func (f *forge) invalidPlaintexts() {
	h := Header{1, 2}
	kek := kekFor(bobRouter, h.Epoch)
	for _, m := range malformed() {
		id := "record/" + m.id
		f.invalid(id, kek, bobRouter, f.sealRaw(id, kek, bobRouter, h, m.plaintext), "record")
	}
}

// invalidKeys: an envelope that plain GCM would open under two keys. Under the
// first it is valid; the commitment refuses the second.
func (f *forge) invalidKeys() {
	h := Header{1, 2}
	one, two := kekFor(aliceRouter, 1), kekFor(aliceRouter, 2)
	c := craftTwoKey(f.t, testKEK(f.t, one), testKEK(f.t, two), aliceRouter.parse(), h, f.salt("two-key"))
	f.vectors = append(f.vectors, vector{
		ID: "valid/two-key/first", KEK: one, Name: aliceRouter, Sealed: c.sealed, Result: "ok",
		Header: describeHeader(h), Record: describeRecord(c.record),
	})
	f.invalid("two-key/second", two, aliceRouter, c.sealed, "commitment")
	// The same with the second key's commitment in the header.
	c = craftTwoKey(f.t, testKEK(f.t, two), testKEK(f.t, one), aliceRouter.parse(), h, f.salt("two-key"))
	f.invalid("two-key/other-commitment", one, aliceRouter, c.sealed, "commitment")
}

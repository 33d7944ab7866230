package inject

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// texts to search: what models and APIs answer with.
func benchTexts(size int) map[string][]byte {
	rng := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields("the model said that a token stream of words is what most risks look like under load, and sk- or v1 in it")
	var prose, stream strings.Builder
	for prose.Len() < size {
		prose.WriteString(words[rng.IntN(len(words))] + " ")
	}
	for stream.Len() < size {
		fmt.Fprintf(&stream, "data: {\"id\":\"gen-%d\",\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", rng.Uint64(), words[rng.IntN(len(words))])
	}
	raw := make([]byte, size/2)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	return map[string][]byte{
		"prose": []byte(prose.String()[:size]), "sse": []byte(stream.String()[:size]),
		"hex": []byte(hex.EncodeToString(raw)), "worst": bytes.Repeat([]byte("s"), size),
	}
}

func BenchmarkRedactor(b *testing.B) {
	keys := map[string]string{"openrouter73": secrets[0], "jina37": secrets[1], "odd38": secrets[3], "short8": secrets[8], "jwt1261": secrets[12]}
	for key, s := range keys {
		x := newRedactor([]byte(s))
		for _, size := range []int{1 << 10, 32 << 10} {
			for name, text := range benchTexts(size) {
				b.Run(fmt.Sprintf("%s/%s/%dKiB", key, name, size>>10), func(b *testing.B) {
					b.SetBytes(int64(len(text)))
					for b.Loop() {
						x.redact(text, false)
					}
				})
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		newRedactor([]byte(secrets[0]))
	}
}

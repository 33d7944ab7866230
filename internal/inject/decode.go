package inject

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Upstreams are asked for no compression. One that compresses all the same is
// decompressed, because what is compressed cannot be searched. Every decoder
// works on a stream with a window of bounded size, so that an answer that
// expands a millionfold costs time and no memory.

var errEncoding = errors.New("unknown content coding")

// maxWindowZstd is what RFC 9659 lets an HTTP client need.
const maxWindowZstd = 8 << 20

// decode returns the answer's body without its content coding, and whether
// there was one. A stack of codings is refused: each one multiplies what a few
// bytes can expand to.
func decode(res *http.Response) (body io.ReadCloser, decoded bool, err error) {
	codings := res.Header["Content-Encoding"]
	if len(codings) == 0 {
		return res.Body, false, nil
	}
	if len(codings) > 1 {
		return nil, false, errEncoding
	}
	switch strings.ToLower(strings.TrimSpace(codings[0])) {
	case "", "identity":
		return res.Body, false, nil
	case "gzip", "x-gzip":
		return &decoder{src: res.Body, open: openGzip}, true, nil
	case "deflate":
		return &decoder{src: res.Body, open: openDeflate}, true, nil
	case "br":
		return &decoder{src: res.Body, open: openBrotli}, true, nil
	case "zstd":
		return &decoder{src: res.Body, open: openZstd}, true, nil
	}
	return nil, false, errEncoding
}

// decoder opens its decoder at the first read: opening reads, and the agent
// shall have its headers before.
type decoder struct {
	src  io.ReadCloser
	open func(io.Reader) (io.Reader, error)
	r    io.Reader
	err  error
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.r == nil && d.err == nil {
		d.r, d.err = d.open(d.src)
	}
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.r.Read(p)
	if d.err = err; err == io.EOF {
		// The transport hands out trailers, and uses the connection again,
		// once it has been read to the end.
		_, _ = io.CopyN(io.Discard, d.src, 64<<10)
	}
	return n, err
}

func (d *decoder) Close() error {
	if z, ok := d.r.(*zstd.Decoder); ok {
		z.Close()
	}
	return d.src.Close()
}

func openGzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

func openBrotli(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }

func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindowZstd))
}

// openDeflate takes what RFC 9110 means by deflate, zlib, and what some
// servers send, the raw stream. A zlib header is a multiple of 31 and names
// the method 8; no raw stream that a compressor writes begins so.
func openDeflate(r io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 4096)
	head, err := br.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
		return zlib.NewReader(br)
	}
	return flate.NewReader(br), nil
}

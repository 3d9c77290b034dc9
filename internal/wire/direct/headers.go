package direct

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxHeaderBytes bounds a header block, packed and unpacked.
	maxHeaderBytes = 16 << 10
	// maxFields bounds their number: of short ones there could be many.
	maxFields = 128
	// fieldCost is what HTTP/2 counts for a field besides its text.
	fieldCost   = 32
	contentType = "application/grpc"
	// UserAgent is how a Client is known to a Server.
	UserAgent = "conclave-direct"
)

// fields are those of a header block that matter here.
type fields struct {
	method, path, content, agent, timeout string // of a request
	status, grpcStatus, grpcMessage       string // of an answer
	size, count                           int
}

func (f *fields) add(h hpack.HeaderField) {
	f.size += len(h.Name) + len(h.Value) + fieldCost
	f.count++
	switch h.Name {
	case ":method":
		f.method = h.Value
	case ":path":
		f.path = h.Value
	case ":status":
		f.status = h.Value
	case "content-type":
		f.content = h.Value
	case "user-agent":
		f.agent = h.Value
	case "grpc-timeout":
		f.timeout = h.Value
	case "grpc-status":
		f.grpcStatus = h.Value
	case "grpc-message":
		f.grpcMessage = h.Value
	}
}

// headerReader unpacks header blocks; it remembers, as HPACK does.
type headerReader struct {
	decoder *hpack.Decoder
	current *fields
}

func newHeaderReader() *headerReader {
	r := &headerReader{}
	r.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		r.current.add(f)
		if r.current.size > maxHeaderBytes || r.current.count > maxFields {
			r.decoder.SetEmitEnabled(false)
		}
	})
	r.decoder.SetMaxStringLength(maxHeaderBytes)
	return r
}

func (r *headerReader) read(block []byte) (*fields, error) {
	r.current = &fields{}
	r.decoder.SetEmitEnabled(true)
	if _, err := r.decoder.Write(block); err != nil {
		return nil, broken(http2.ErrCodeCompression, "headers: %v", err)
	}
	if err := r.decoder.Close(); err != nil {
		return nil, broken(http2.ErrCodeCompression, "headers: %v", err)
	}
	if f := r.current; f.size > maxHeaderBytes || f.count > maxFields {
		return nil, broken(http2.ErrCodeEnhanceYourCalm, "headers of more than %d bytes or %d fields",
			maxHeaderBytes, maxFields)
	}
	return r.current, nil
}

// packHeaders encodes fields so that the peer remembers nothing: names and values in turn.
func packHeaders(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		// A buffer takes everything.
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1], Sensitive: true})
	}
	return b.Bytes()
}

// isGRPC reports whether a content type is gRPC's with ordinary protobuf.
func isGRPC(content string) bool {
	return content == contentType || content == contentType+"+proto" ||
		strings.HasPrefix(content, contentType+";")
}

// answerStatus is what the trailers of an answer say.
func answerStatus(f *fields) *status.Status {
	if f.grpcStatus == "" {
		return status.New(codes.Internal, "the stream ended without a status")
	}
	code, err := strconv.ParseUint(f.grpcStatus, 10, 32)
	if err != nil {
		return status.Newf(codes.Internal, "the stream ended with status %.20q", f.grpcStatus)
	}
	return status.New(codes.Code(code), unescape(f.grpcMessage))
}

// maxTimeoutDigits is gRPC's.
const maxTimeoutDigits = 8

// parseTimeout reads gRPC's notation; ok is false for none.
func parseTimeout(text string) (d time.Duration, ok bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond,
		'u': time.Microsecond, 'n': time.Nanosecond,
	}
	last := len(text) - 1
	unit := units[text[last]]
	n, err := strconv.ParseUint(text[:last], 10, 32)
	if err != nil || unit == 0 || last > maxTimeoutDigits {
		return 0, false, fmt.Errorf("timeout %.20q is not one of gRPC's", text)
	}
	const most = uint64(1<<63 - 1)
	if n > most/uint64(unit) {
		return time.Duration(most), true, nil
	}
	return time.Duration(n) * unit, true, nil
}

// formatTimeout writes d in gRPC's notation, rounded up.
func formatTimeout(d time.Duration) string {
	d = max(d, 0)
	for _, u := range []struct {
		unit   time.Duration
		letter string
	}{
		{time.Nanosecond, "n"}, {time.Microsecond, "u"}, {time.Millisecond, "m"},
		{time.Second, "S"}, {time.Minute, "M"},
	} {
		if n := (d + u.unit - 1) / u.unit; n < 1e8 {
			return strconv.FormatInt(int64(n), 10) + u.letter
		}
	}
	return strconv.FormatInt(int64(d/time.Hour)+1, 10) + "H"
}

// escape writes a status message as gRPC wants it in a header: percent-encoded.
func escape(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// unescape reads what escape writes, and leaves what it cannot read.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if v, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

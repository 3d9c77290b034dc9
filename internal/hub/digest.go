package hub

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
)

// digest is what the content of one answer has to hash to. A nil one is content with everything.
type digest struct {
	hash func([]byte) []byte
	want []byte
}

// errDigest is temporary: bytes may have been damaged on their way.
var errDigest = errors.New("the bytes are not those of the answer's Content-Digest")

// contentDigest reads the Content-Digest of an answer (RFC 9530), which is of the range that it
// brings and not of the whole file. Algorithms that are not known or not trusted are passed over.
func contentDigest(h http.Header) *digest {
	for _, entry := range strings.Split(strings.Join(h.Values("Content-Digest"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		d := &digest{}
		switch strings.ToLower(name) {
		case "sha-256":
			d.hash = func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
		case "sha-512":
			d.hash = func(b []byte) []byte { sum := sha512.Sum512(b); return sum[:] }
		default:
			continue
		}
		text, ok := strings.CutPrefix(value, ":")
		text, closed := strings.CutSuffix(text, ":")
		var err error
		if d.want, err = base64.StdEncoding.DecodeString(text); ok && closed && err == nil {
			return d
		}
	}
	return nil
}

func (d *digest) check(content []byte) error {
	if d == nil || bytes.Equal(d.hash(content), d.want) {
		return nil
	}
	return errDigest
}

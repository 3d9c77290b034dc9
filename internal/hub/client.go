package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	// maxRedirects is more hops than storage takes behind a hub.
	maxRedirects = 8
	// maxHeaderBytes bounds the headers of an answer; signed addresses have a few kilobytes.
	maxHeaderBytes = 256 << 10
)

// client makes the requests for one model.
type client struct {
	http  *http.Client
	base  *url.URL
	token string
	pace  pace
	log   *slog.Logger
}

func newClient(cfg Config, base *url.URL) (*client, error) {
	transport := &http.Transport{
		Proxy:                  cfg.Proxy,
		MaxIdleConnsPerHost:    parallel,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ResponseHeaderTimeout:  cfg.pace.stall,
		TLSHandshakeTimeout:    cfg.pace.stall,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true, // ranges are of the file itself
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		// One connection each: streams of one HTTP/2 connection would share its window.
		ForceAttemptHTTP2: false,
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--hub-ca: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--hub-ca: %s holds no certificate in PEM", cfg.CAFile)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	c := &client{base: base, token: cfg.Token, pace: cfg.pace, log: cfg.Log}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.redirect}
	return c, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// hubHeaders collects what a model hub says of a file when it redirects to the file's storage.
type hubHeaders struct{ etag string }

type hubHeadersKey struct{}

// redirect follows to other hosts, but never with the token, nor from HTTPS to HTTP.
func (c *client) redirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return refuse("more than %d redirects", maxRedirects)
	case via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https":
		return refuse("redirects from https to %s", next.URL.Scheme)
	}
	if !c.isOrigin(next.URL) {
		next.Header.Del("Authorization")
	}
	// A model that was renamed is redirected within the hub first.
	said, ok := next.Context().Value(hubHeadersKey{}).(*hubHeaders)
	if ok && said.etag == "" && c.isOrigin(via[len(via)-1].URL) {
		said.etag = next.Response.Header.Get("X-Linked-Etag")
	}
	return nil
}

func (c *client) isOrigin(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && strings.EqualFold(u.Host, c.base.Host)
}

// answer is a response, and what the hub said before it redirected to it.
type answer struct {
	*http.Response
	linked string
}

// get asks for a file. The caller closes the body of an answer; errors are the status, a refusal,
// or of the connection.
func (c *client) get(ctx context.Context, name string, header http.Header) (*answer, error) {
	said := new(hubHeaders)
	ctx = context.WithValue(ctx, hubHeadersKey{}, said)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath(name).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "conclave")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plainError(ctx, err)
	}
	if err := c.checkStatus(resp); err != nil {
		_ = resp.Body.Close() // nothing of it is wanted
		return nil, err
	}
	return &answer{resp, said.etag}, nil
}

// plainError takes the address out of an error of net/http: it may be a signed one.
func plainError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if outer := new(url.Error); errors.As(err, &outer) {
		err = outer.Err
	}
	if bad := new(tls.CertificateVerificationError); errors.As(err, &bad) {
		return refuse("%w; name its authority by --hub-ca", err)
	}
	return err
}

func (c *client) checkStatus(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
			return refuse("answers with Content-Encoding %.20q, which was not asked for", e)
		}
		return nil
	case http.StatusNotModified:
		return nil
	}
	return &statusError{code: resp.StatusCode, token: c.token != "", after: retryAfter(resp)}
}

// statusError is an answer that is no file.
type statusError struct {
	code  int
	token bool // one was shown
	after time.Duration
}

// Error implements error.
func (e *statusError) Error() string {
	text := fmt.Sprintf("status %d %s", e.code, http.StatusText(e.code))
	switch {
	case e.code != http.StatusUnauthorized && e.code != http.StatusForbidden:
		return text
	case e.token:
		return text + ": the token does not open it"
	}
	return text + ": it may want a token, see --hub-token"
}

// Is tells that the file does not exist. Storage that does not list its files says Forbidden.
func (e *statusError) Is(target error) bool {
	return target == fs.ErrNotExist && (e.code == http.StatusNotFound || e.code == http.StatusGone ||
		e.code == http.StatusForbidden)
}

// temporary tells whether to ask again.
func (e *statusError) temporary() bool {
	return e.code >= 500 && e.code != http.StatusNotImplemented &&
		e.code != http.StatusHTTPVersionNotSupported ||
		e.code == http.StatusTooManyRequests || e.code == http.StatusRequestTimeout
}

// sha256Tag is an ETag that is the SHA-256 of the file, as model hubs give it.
var sha256Tag = regexp.MustCompile(`^"?([0-9a-f]{64})"?$`)

// identity is what the answer says the file is; size was found out elsewhere.
func (a *answer) identity(size int64) (identity, error) {
	if size < 0 || size > maxFileBytes {
		return identity{}, refuse("says that it has %d bytes", size)
	}
	i := identity{Size: size, Tag: a.linked, Linked: a.linked != ""}
	for _, name := range []string{"ETag", "Last-Modified"} {
		if i.Tag == "" {
			i.Tag = a.Header.Get(name)
		}
	}
	if i.Tag == "" || len(i.Tag) > 1000 {
		return identity{}, refuse("gives neither ETag nor Last-Modified, " +
			"so that a change could not be noticed")
	}
	if m := sha256Tag.FindStringSubmatch(i.Tag); m != nil {
		i.SHA256 = m[1]
	}
	return i, nil
}

// condition is the value of If-Range, "" if the identity cannot be used for it: a weak ETag, or the
// hub's, which the storage behind it does not know.
func (i identity) condition() string {
	if i.Linked || strings.HasPrefix(i.Tag, "W/") {
		return ""
	}
	return i.Tag
}

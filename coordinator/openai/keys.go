package openai

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxKeyBytes and maxKeyFile bound what is read as keys.
	maxKeyBytes = 4096
	maxKeyFile  = 1 << 20
	// keyFileEvery is how often the file of keys is looked at, at most.
	keyFileEvery = time.Second
)

// Access says who may use the API, and from where.
type Access struct {
	// Keys and KeyFile hold the keys of which a request must have one: the file
	// one a line, with # before comments, read again when it changes. With
	// neither nobody needs any. Health and metrics are open in any case.
	Keys    []string
	KeyFile string
	// Origins are the web origins whose pages may use the API; "*" is all.
	Origins []string
}

// Check says what is wrong with a.
func (a *Access) Check() error {
	_, err := newKeys(a, nil)
	problems := []error{err}
	for _, origin := range a.Origins {
		problems = append(problems, checkOrigin(origin))
	}
	return errors.Join(problems...)
}

// keyHash stands for a key: hashes have one length, so that comparing them
// tells nothing about the keys, and no key stays in memory.
type keyHash [sha256.Size]byte

// keys says who may use the API.
type keys struct {
	fixed []keyHash
	file  string // "": none
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time   // when the file was looked at
	seen   fs.FileInfo // what it was then
	read   []keyHash   // what is in it
	failed bool        // it could not be read, which was logged
}

// newKeys returns the keys that a names, or nil if it names none.
func newKeys(a *Access, log *slog.Logger) (*keys, error) {
	if len(a.Keys) == 0 && a.KeyFile == "" {
		return nil, nil
	}
	k := &keys{file: a.KeyFile, log: log}
	for i, key := range a.Keys {
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("API key %d of %d %w", i+1, len(a.Keys), err)
		}
		k.fixed = append(k.fixed, sha256.Sum256([]byte(key)))
	}
	if k.file != "" {
		if err := k.load(); err != nil {
			return nil, err
		}
		if len(k.fixed)+len(k.read) == 0 {
			return nil, fmt.Errorf("read API keys: %s holds none", k.file)
		}
	}
	return k, nil
}

// checkKey returns what is wrong with a key, without the key.
func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("is empty")
	case len(key) > maxKeyBytes:
		return fmt.Errorf("has more than %d bytes", maxKeyBytes)
	case strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return errors.New("has a character that no header may carry")
	}
	return nil
}

// load reads the file: a key a line, but for empty lines and those that begin
// with #.
func (k *keys) load() error {
	f, err := os.Open(k.file)
	if err != nil {
		return fmt.Errorf("read API keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read API keys: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return fmt.Errorf("read API keys: %w", err)
	}
	if len(data) > maxKeyFile {
		return fmt.Errorf("read API keys: %s has more than %d bytes", k.file, maxKeyFile)
	}
	var read []keyHash
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := checkKey(string(line)); err != nil {
			return fmt.Errorf("read API keys: %s: the key in line %d %w", k.file, i+1, err)
		}
		read = append(read, sha256.Sum256(line))
	}
	k.seen, k.read = info, read
	return nil
}

// current returns the hashes of all keys. A file that cannot be read leaves
// those that it held.
func (k *keys) current() []keyHash {
	if k.file == "" {
		return k.fixed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= keyFileEvery {
		k.looked = now
		k.refresh()
	}
	return append(k.fixed[:len(k.fixed):len(k.fixed)], k.read...)
}

// refresh reads the file if it has changed; the caller holds mu.
func (k *keys) refresh() {
	info, err := os.Stat(k.file)
	if err == nil && os.SameFile(info, k.seen) && info.Size() == k.seen.Size() &&
		info.ModTime().Equal(k.seen.ModTime()) {
		return
	}
	if err == nil {
		err = k.load()
	}
	if err != nil && !k.failed {
		k.log.Warn("the API keys stay as they are", "err", err)
	}
	if k.failed = err != nil; !k.failed {
		k.log.Info("read API keys", "file", k.file, "keys", len(k.read))
	}
}

// holds says whether key is one of the keys. It takes as long for each.
func (k *keys) holds(key string) bool {
	hash := sha256.Sum256([]byte(key))
	found := 0
	for _, known := range k.current() {
		found |= subtle.ConstantTimeCompare(hash[:], known[:])
	}
	return found == 1
}

// keyed lets only requests with a key through to h, if there are keys.
func (s *Server) keyed(h handler) handler {
	if s.keys == nil {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request, x *exchange) *apiError {
		if err := s.checkKey(r); err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="conclave"`)
			return err
		}
		return h(w, r, x)
	}
}

// checkKey returns why a request may not be served, or nil.
func (s *Server) checkKey(r *http.Request) *apiError {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	e := &apiError{status: http.StatusUnauthorized, kind: typeInvalid, code: "invalid_api_key"}
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		e.message = "You didn't provide an API key. Send it in the Authorization header: " +
			"Authorization: Bearer YOUR_KEY."
	case !s.keys.holds(strings.TrimSpace(key)):
		e.message = "Incorrect API key provided."
	default:
		return nil
	}
	return e
}

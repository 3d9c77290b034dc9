package openai

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// with sends a request with these headers, in pairs.
func with(s *Server, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestKeys(t *testing.T) {
	var log bytes.Buffer
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s, e := newServer(t, "hello", func(c *Config) {
		c.Access.Keys = []string{"sk-one", "sk-two"}
		c.Pages = map[string]http.Handler{"/status": page}
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	const missing = `{"error":{"message":"You didn't provide an API key. Send it in the Authorization ` +
		`header: Authorization: Bearer YOUR_KEY.","type":"invalid_request_error","param":null,` +
		`"code":"invalid_api_key"}}` + "\n"
	const wrong = `{"error":{"message":"Incorrect API key provided.","type":` +
		`"invalid_request_error","param":null,"code":"invalid_api_key"}}` + "\n"
	for _, c := range []struct{ header, want string }{
		{"Bearer sk-one", ""}, {"bearer  sk-two", ""}, {"Bearer sk-two ", ""},
		{"", missing}, {"sk-one", missing}, {"Basic sk-one", missing},
		{"Bearer", wrong}, {"Bearer ", wrong}, {"Bearer sk-thr", wrong}, {"Bearer sk-on", wrong},
		{"Bearer sk-one sk-two", wrong}, {"Bearer " + strings.Repeat("x", 60_000), wrong},
	} {
		e.requests = nil
		w := with(s, "POST", chatPath, chatBody(""), "Authorization", c.header)
		if c.want == "" {
			if w.Code != 200 {
				t.Errorf("%q: %d %s", c.header, w.Code, w.Body)
			}
			continue
		}
		if w.Code != 401 || w.Body.String() != c.want || len(e.requests) > 0 ||
			w.Header().Get("WWW-Authenticate") != `Bearer realm="conclave"` ||
			w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%.30q: %d %v %s", c.header, w.Code, w.Header(), w.Body)
		}
	}
	for path, want := range map[string]int{
		"/healthz": 200, "/health": 200, "/ping": 200, "/readyz": 200, "/metrics": 200,
		"/v1/models": 401, "/v1/models/test": 401, "/v1/responses/resp_1": 401, "/version": 401,
		"/status": 401, "/nowhere": 401, itemPath: 405,
	} {
		if w := with(s, "GET", path, ""); w.Code != want {
			t.Errorf("GET %s without a key: %d, want %d", path, w.Code, want)
		}
	}
	if w := with(s, "GET", "/status", "", "Authorization", "Bearer sk-one"); w.Code != 204 {
		t.Errorf("a page with a key: %d", w.Code)
	}
	if strings.Contains(log.String(), "sk-") {
		t.Errorf("a key was logged:\n%s", log.String())
	}
}

// A file of keys is read again when it has changed; one that is gone or broken
// leaves the keys as they are.
func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		next := file + ".next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	write("# ours\nsk-one\r\n\n  sk-two  \n")
	s, _ := newServer(t, "hello", func(c *Config) {
		c.Access = Access{Keys: []string{"sk-fixed"}, KeyFile: file}
	})
	holds := func(want string) {
		t.Helper()
		s.keys.looked = time.Time{}
		got := ""
		for _, key := range []string{"sk-fixed", "sk-one", "sk-two", "# ours", "sk-new"} {
			if with(s, "GET", "/v1/models", "", "Authorization", "Bearer "+key).Code == 200 {
				got += key + " "
			}
		}
		if got != want {
			t.Errorf("keys %q, want %q", got, want)
		}
	}
	holds("sk-fixed sk-one sk-two ")
	write("sk-new\n")
	holds("sk-fixed sk-new ")
	write("sk one\n")
	holds("sk-fixed sk-new ")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	holds("sk-fixed sk-new ")
	write("")
	holds("sk-fixed ")
}

func TestAccessThatMakesNoSense(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		access Access
		want   string
	}{
		{Access{Keys: []string{"sk-one", ""}}, "API key 2 of 2 is empty"},
		{Access{Keys: []string{"sk one"}}, "API key 1 of 1 has a character that no header may carry"},
		{Access{Keys: []string{strings.Repeat("x", 5000)}}, "more than 4096 bytes"},
		{Access{KeyFile: filepath.Join(dir, "none")}, "no such file"},
		{Access{KeyFile: file("empty", "# none\n")}, "holds none"},
		{Access{KeyFile: file("bad", "sk-one\nsk two\n")}, "the key in line 2 has a character"},
		{Access{KeyFile: file("large", strings.Repeat("# none\n", 200_000))}, "1048576 bytes"},
		{Access{Origins: []string{"*", "example.com"}}, `"example.com": want *`},
		{Access{Origins: []string{"https://example.com/"}}, "want * or a scheme"},
		{Access{Origins: []string{"https://Example.com"}}, "as browsers write them"},
	} {
		err := c.access.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "sk") {
			t.Errorf("%+.60v: %v, want %q", c.access, err, c.want)
		}
	}
}

func TestCORS(t *testing.T) {
	const asked = "authorization,content-type,x-stainless-os"
	preflight := []string{"Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", asked}
	for _, c := range []struct {
		allowed []string
		origin  string
		want    string // Access-Control-Allow-Origin
		vary    string
	}{
		{nil, "http://a", "", ""},
		{[]string{"*"}, "http://a", "*", ""},
		{[]string{"*"}, "", "", ""},
		{[]string{"http://a", "http://b:1"}, "http://b:1", "http://b:1", "Origin"},
		{[]string{"http://a", "http://b:1"}, "http://b", "", "Origin"},
	} {
		s, _ := newServer(t, "hello", func(cfg *Config) {
			cfg.Access = Access{Keys: []string{"sk-one"}, Origins: c.allowed}
		})
		name := fmt.Sprintf("%v, %q", c.allowed, c.origin)
		w := with(s, "POST", chatPath, chatBody(""), "Origin", c.origin,
			"Authorization", "Bearer sk-one")
		h := w.Header()
		if w.Code != 200 || h.Get("Access-Control-Allow-Origin") != c.want || h.Get("Vary") != c.vary ||
			(h.Get("Access-Control-Expose-Headers") != "") != (c.want != "") {
			t.Errorf("%s: %d %v", name, w.Code, h)
		}
		// A preflight brings no key, and a page may read why it was refused.
		w = with(s, "OPTIONS", chatPath, "", append(preflight, "Origin", c.origin)...)
		h = w.Header()
		if c.want == "" {
			if w.Code != 405 || h.Get("Access-Control-Allow-Headers") != "" {
				t.Errorf("%s: preflight %d %v", name, w.Code, h)
			}
			continue
		}
		if w.Code != 204 || h.Get("Access-Control-Allow-Origin") != c.want ||
			h.Get("Access-Control-Allow-Methods") != "GET, POST, DELETE" ||
			h.Get("Access-Control-Allow-Headers") != asked || h.Get("Access-Control-Max-Age") != "86400" {
			t.Errorf("%s: preflight %d %v", name, w.Code, h)
		}
		w = with(s, "POST", chatPath, chatBody(""), "Origin", c.origin)
		if w.Code != 401 || w.Header().Get("Access-Control-Allow-Origin") != c.want {
			t.Errorf("%s: refused with %d %v", name, w.Code, w.Header())
		}
	}
}

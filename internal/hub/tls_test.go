package hub

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnAuthority(t *testing.T) {
	o := newOrigin(t, mib)
	secure := httptest.NewUnstartedServer(o)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	cfg := o.config(t.TempDir())
	cfg.URL = secure.URL + "/m"
	if _, err := Open(t.Context(), cfg, "config.json"); err == nil ||
		!strings.Contains(err.Error(), "--hub-ca") {
		t.Errorf("an unknown authority: %v", err)
	}
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.CAFile, []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg, "config.json"); err == nil ||
		!strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("a file without certificates: %v", err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(cfg.CAFile, certificate, 0o644); err != nil {
		t.Fatal(err)
	}
	m := o.open(t, cfg)
	o.mustHold(t, m, span{1000, 2000})

	o.set(func(w http.ResponseWriter, r *http.Request) bool { // down to HTTP
		http.Redirect(w, r, o.URL+r.URL.Path, http.StatusFound)
		return true
	})
	err := m.Fetch(t.Context(), ranges(span{5000, 6000}), nil)
	if err == nil || !strings.Contains(err.Error(), "redirects from https to http") {
		t.Errorf("a redirect to http: %v", err)
	}
}

func TestProxy(t *testing.T) {
	o := newOrigin(t, mib)
	proxied := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied++
		o.serve(w, r)
	}))
	t.Cleanup(proxy.Close)
	cfg := o.config(t.TempDir())
	cfg.URL = "http://model.invalid/m"
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	m := o.open(t, cfg)
	o.mustHold(t, m, span{1000, 2000})
	if proxied != 3 {
		t.Errorf("%d requests went by the proxy, want 3", proxied)
	}
}

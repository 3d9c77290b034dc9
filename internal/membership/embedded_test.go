package membership

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not mention %q", err, w)
		}
	}
}

func TestEmbeddedDirectoryIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := startEtcd(t, EmbeddedConfig{Dir: dir})
	if _, err := StartEmbedded(EmbeddedConfig{Dir: dir}); err == nil {
		t.Fatal("a second etcd started on the same directory")
	} else {
		wantWords(t, err, dir, "another etcd")
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	startEtcd(t, EmbeddedConfig{Dir: dir}) // free again
}

func TestEmbeddedRefusesItsConfig(t *testing.T) {
	t.Parallel()
	if _, err := StartEmbedded(EmbeddedConfig{}); err == nil {
		t.Error("started without a directory")
	}
	if _, err := StartEmbedded(EmbeddedConfig{Dir: t.TempDir(), ClientAddr: "nowhere"}); err == nil {
		t.Error("started on an address without a port")
	}
	taken := startEtcd(t, EmbeddedConfig{}).Endpoint()
	dir := t.TempDir()
	if _, err := StartEmbedded(EmbeddedConfig{Dir: dir, ClientAddr: taken}); err == nil {
		t.Error("started on an address in use")
	} else {
		wantWords(t, err, dir, "in use")
	}
	startEtcd(t, EmbeddedConfig{Dir: dir}) // the failed start freed the directory
}

func TestEtcdLogsArriveQuietly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	z := zapLogger(log).With(zap.String("peer", "p1"))
	z.Error("cannot do it", zap.Int("try", 3))
	got := out.String()
	for _, want := range []string{"level=DEBUG", "cannot do it", "peer=p1", "try=3", "severity=error"} {
		if !strings.Contains(got, want) {
			t.Errorf("log line %q lacks %q", got, want)
		}
	}
	out.Reset()
	z.Debug("chatter")
	zapLogger(slog.New(slog.NewTextHandler(&out, nil))).Error("below the level")
	if out.Len() > 0 {
		t.Errorf("should be silent: %q", out.String())
	}
	if z.DPanic("about to end"); !strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("the end of the process was not an error: %q", out.String())
	}
}

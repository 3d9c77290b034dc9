//go:build unix

package chat

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe must be refused: opening one would wait for its writer, for ever.
func TestPipeIsRefused(t *testing.T) {
	for _, name := range []string{"tokenizer_config.json", "chat_template.jinja"} {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(dir)
		if err == nil || !strings.Contains(err.Error(), name+": not a regular file") {
			t.Errorf("error %v", err)
		}
	}
}

package openai

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts in testdata")

// TestTranscripts replays testdata/transcripts. Each file holds the request
// (method, path and body), what the engine does with it, one step a line (say
// "text", finish reason), and below ---- the whole response.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d transcripts (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script, want, _ := strings.Cut(string(data), "----\n")
			got := play(t, script)
			if *rewrite {
				if err := os.WriteFile(file, []byte(script+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// play sends the request of a script and returns the response as text.
func play(t *testing.T, script string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(script), "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	s, e := newServer(t, "")
	e.script = func(r engine.Request) ([]engine.Event, error) {
		text, finish := "", engine.Finish("")
		for _, line := range lines[2:] {
			verb, argument, _ := strings.Cut(line, " ")
			switch verb {
			case "say":
				part, err := strconv.Unquote(argument)
				if err != nil {
					t.Errorf("%s: %v", line, err)
				}
				text += part
			case "finish":
				finish = engine.Finish(argument)
			default:
				t.Errorf("unknown step %q", line)
			}
		}
		return e.say(r, text, finish), nil
	}
	w := do(s, method, path, lines[1])
	return fmt.Sprintf("%d %s\n%s", w.Code, w.Header().Get("Content-Type"), w.Body)
}

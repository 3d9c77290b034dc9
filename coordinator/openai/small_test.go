package openai

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// An error quotes the beginning of what it complains about, not megabytes of it,
// and so does the log.
func TestErrorsStaySmall(t *testing.T) {
	const most = 1000
	var log bytes.Buffer
	s, _ := newServer(t, "hi", func(c *Config) {
		c.MaxBody, c.Log = 1<<14, slog.New(slog.NewTextHandler(&log, nil))
	})
	huge := strings.Repeat("x", 3_000)
	values := []string{
		`"` + huge + `"`, `["` + huge + `"]`, `{"` + huge + `":1}`, `{"type":"` + huge + `"}`,
		`[{"type":"` + huge + `"}]`, `{"type":"function","function":{"name":"` + huge + `"}}`,
		`{"type":"function","name":"` + huge + `"}`, `[{"type":"function","name":"` + huge + `"}]`,
		`[{"type":"function","function":{"name":"` + huge + `"}}]`, strings.Repeat("9", 3_000),
		`[{"role":"` + huge + `"}]`, `[{"role":"user","content":[{"type":"` + huge + `"}]}]`,
		`[{"role":"assistant","tool_calls":[{"type":"` + huge + `"}]}]`,
		`[{"type":"function_call","call_id":"` + huge + `"}]`,
		`{"` + huge + `":"a"}`, `{"messages":"` + huge + `","` + huge + `":1}`,
	}
	for _, f := range knownFields {
		for _, letter := range f.in {
			endpoint := endpoints[letter]
			for i, value := range values {
				log.Reset()
				w := do(s, "POST", endpoint.path, f.body(endpoint.body, value))
				if w.Code >= 400 && w.Body.Len() > most || log.Len() > 2*most {
					t.Errorf("%s, %s, value %d: %d with %d bytes, %d in the log: %s", endpoint.path,
						f.name, i, w.Code, w.Body.Len(), log.Len(), fmt.Sprintf("%.200s", w.Body))
				}
			}
		}
	}
}

package jinja

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goldens = "../../../testdata/golden/chat"

// snippets.json holds small templates with what Jinja2 makes of them; see tools/golden.
type snippets struct {
	Now   string
	Vars  json.RawMessage
	Cases []struct {
		Name, Template string
		Vars           json.RawMessage
		Output         *string
		Error          string
	}
}

// unsupported lists the constructs that Jinja2 knows and this package refuses.
var unsupported = []string{"striptags"}

func TestSnippets(t *testing.T) {
	var s snippets
	readGolden(t, "snippets.json", &s)
	now, err := time.Parse("2006-01-02T15:04:05", s.Now)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Cases) < 100 {
		t.Fatalf("only %d cases", len(s.Cases))
	}
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			raw := s.Vars
			if c.Vars != nil {
				raw = c.Vars
			}
			vars := map[string]Value{}
			o, _ := fromJSON(t, raw).Object()
			for i := range o.Len() {
				key, value := o.At(i)
				name, _ := key.Text()
				vars[name] = value
			}
			got, err := render(c.Template, Context{Vars: vars, Now: func() time.Time { return now }})
			switch {
			case err != nil && refused(c.Template, err):
				t.Skipf("refused: %v", err)
			case c.Output == nil && err == nil:
				t.Errorf("%s\ngot  %q\nwant error %s", c.Template, got, c.Error)
			case c.Output != nil && err != nil:
				t.Errorf("%s\ngot error %v\nwant %q", c.Template, err, *c.Output)
			case c.Output != nil && got != *c.Output:
				t.Errorf("%s\ngot  %q\nwant %q", c.Template, got, *c.Output)
			case err != nil && strings.Contains(err.Error(), "internal error"):
				t.Errorf("%s\n%v", c.Template, err)
			}
		})
	}
}

func refused(template string, err error) bool {
	for _, name := range unsupported {
		if strings.Contains(template, name) && strings.Contains(err.Error(), "unsupported") {
			return true
		}
	}
	return false
}

func readGolden(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldens, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func render(src string, c Context) (string, error) {
	tmpl, err := Parse(src, "test")
	if err != nil {
		return "", err
	}
	spans, err := tmpl.Render(c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, s := range spans {
		if i > 0 && spans[i-1].Input == s.Input || s.Text == "" {
			panic("spans are not merged")
		}
		b.WriteString(s.Text)
	}
	return b.String(), nil
}

// fromJSON builds a Value with marked strings.
func fromJSON(t testing.TB, raw json.RawMessage) Value {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return decodeValue(t, d)
}

func decodeValue(t testing.TB, d *json.Decoder) Value {
	tok, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch tok := tok.(type) {
	case string:
		return InputString(tok)
	case bool:
		return Bool(tok)
	case json.Number:
		if i, err := tok.Int64(); err == nil {
			return Int(i)
		}
		f, _ := tok.Float64()
		return Float(f)
	case json.Delim:
		var items []Value
		o := NewObject()
		for d.More() {
			if tok == '[' {
				items = append(items, decodeValue(t, d))
				continue
			}
			key, _ := d.Token()
			o.Set(InputString(key.(string)), decodeValue(t, d))
		}
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
		if tok == '[' {
			return List(items)
		}
		return Dict(o)
	}
	return Value{}
}

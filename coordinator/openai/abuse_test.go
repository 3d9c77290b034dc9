package openai

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

var abuseSeed = flag.Uint64("abuse-seed", 1, "seed of the bodies that TestAbuse sends")

// abuse makes bodies that are wrong in every way.
type abuse struct {
	*rand.Rand
	valid []sent
}

// sent is a body with where it goes.
type sent struct{ path, body string }

// newAbuse starts from the bodies of the tables of fields and of failures.
func newAbuse() *abuse {
	a := &abuse{}
	for _, f := range knownFields {
		for _, letter := range f.in {
			endpoint := endpoints[letter]
			for _, value := range append(slices.Repeat(f.good, 3), f.bad...) {
				a.valid = append(a.valid, sent{endpoint.path, f.body(endpoint.body, value)})
			}
		}
	}
	for _, f := range failures {
		a.valid = append(a.valid, sent{f.path, f.body})
	}
	return a
}

// next returns body i.
func (a *abuse) next(i uint64) sent {
	a.Rand = rand.New(rand.NewPCG(*abuseSeed, i))
	s := a.valid[a.IntN(len(a.valid))]
	switch a.IntN(8) {
	case 0:
		s.body = a.value(0) // no object, most likely
	case 1:
		s.body = strings.Repeat(a.pick("[", `{"a":`, `{"messages":[`), a.size(20_000))
	case 2, 3:
		s.body = a.scramble(s.body)
	default:
		s.body = a.replace(s.body)
		if a.IntN(4) == 0 {
			s.body = a.scramble(s.body)
		}
	}
	return s
}

func (a *abuse) pick(values ...string) string { return values[a.IntN(len(values))] }

// size returns a number up to most; large ones are rare, for they take long.
func (a *abuse) size(most int) int {
	if a.IntN(10) > 0 {
		most /= 50
	}
	return 1 + a.IntN(most)
}

// value returns some JSON, or what looks like it.
func (a *abuse) value(depth int) string {
	kind := a.IntN(12)
	if depth > 4 {
		kind = a.IntN(9)
	}
	switch kind {
	case 0:
		return a.pick("null", "true", "false", "NaN", "-", "01", "")
	case 1:
		return a.pick("0", "-0", "1", "-1", "2", "1.5", "264", "268", "269", "1e-400", "1e400", "-1e999",
			"9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483648",
			"4294967296", "0.30000000000000004", strings.Repeat("9", 1+a.IntN(2000)))
	case 2:
		return fmt.Sprint(a.IntN(600) - 300)
	case 3, 4:
		return `"` + a.pick("", "a", "hello", `\u0000`, "\x00", `\ud800`, `\udc00\ud800`, `\ud83d\ude00`,
			"\xff\xfe", "\xed\xa0\x80", "é", "<|im_end|>", "</think>", "<tool_call>", `\`, "{{ x }}",
			"user", "assistant", "function", "f", "json_object", "resp_0123", "null", "--", "\u2028") + `"`
	case 5:
		return `"` + strings.Repeat(a.pick("x", "hello ", `\n`, "é", "<think>"), a.size(3000)) + `"`
	case 6:
		return "[" + strings.Repeat(a.pick("1,", `"a",`, "null,", "[],", "{},", "268,"), a.size(5000)) + "1]"
	case 7:
		depth := a.size(12_000) // beyond what encoding/json takes, too
		return strings.Repeat("[", depth) + strings.Repeat("]", depth)
	case 8:
		depth := a.size(3000)
		return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
	case 9, 10:
		items := make([]string, a.IntN(4))
		for i := range items {
			items[i] = a.value(depth + 1)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	items := make([]string, a.IntN(4))
	for i := range items {
		f := &knownFields[a.IntN(len(knownFields))]
		items[i] = fmt.Sprintf("%q:%s", a.pick(f.name, "type", "content", "role", "function", "name",
			"text", "id", "parameters", "tool_calls", "arguments", "output", "call_id"), a.value(depth+1))
	}
	return "{" + strings.Join(items, ",") + "}"
}

// scramble changes some bytes of a body.
func (a *abuse) scramble(body string) string {
	b := []byte(body)
	for range 1 + a.IntN(4) {
		if len(b) == 0 {
			break
		}
		at := a.IntN(len(b))
		end := min(len(b), at+a.IntN(20))
		switch a.IntN(5) {
		case 0:
			b[at] ^= 1 << a.IntN(8)
		case 1:
			b = slices.Delete(b, at, end)
		case 2:
			b = slices.Insert(b, at, b[at:end]...)
		case 3:
			b = slices.Insert(b, at, []byte(a.pick("\x00", "\xff", `"`, "{", "]", ",", `\ud800`, "1e9"))...)
		case 4:
			b = b[:at]
		}
	}
	return string(b)
}

// replace puts other values into a body, at any depth.
func (a *abuse) replace(body string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &object) != nil || object == nil {
		return a.scramble(body)
	}
	for range 1 + a.IntN(3) {
		f := &knownFields[a.IntN(len(knownFields))]
		name, _, nested := strings.Cut(f.name, ".")
		switch values := f.good; {
		case a.IntN(4) == 0:
			object[name] = json.RawMessage(a.value(0))
		case len(values) > 0 && !nested:
			object[name] = json.RawMessage(a.pick(values...))
		}
	}
	parts := make([]string, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		if a.IntN(12) == 0 {
			value = a.nested(value, 0)
		}
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// nested replaces a part of a value.
func (a *abuse) nested(value json.RawMessage, depth int) json.RawMessage {
	var items []json.RawMessage
	if depth < 4 && json.Unmarshal(value, &items) == nil && len(items) > 0 {
		i := a.IntN(len(items))
		items[i] = a.nested(items[i], depth+1)
		texts := make([]string, len(items))
		for i, item := range items {
			texts[i] = string(item)
		}
		return json.RawMessage("[" + strings.Join(texts, ",") + "]")
	}
	return json.RawMessage(a.value(1))
}

// TestAbuse sends 10,000 broken bodies to a server over HTTP, with an engine
// behind it. None may be answered with a failure of the server's own, and
// afterwards it serves as before and nothing is left of them.
func TestAbuse(t *testing.T) {
	const bodies, clients = 10_000, 4
	t.Logf("seed %d: repeat with -abuse-seed", *abuseSeed)
	s, e := newToyServer(t)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	statuses := make([]map[int]int, clients)
	var group sync.WaitGroup
	for c := range clients {
		statuses[c] = make(map[int]int)
		group.Go(func() {
			a := newAbuse()
			for i := c; i < bodies; i += clients {
				sent := a.next(uint64(i))
				status := deliver(t, server, sent)
				if statuses[c][status]++; status >= 500 {
					t.Errorf("body %d of seed %d: %d for %s %.2000q", i, *abuseSeed, status,
						sent.path, sent.body)
				}
			}
		})
	}
	group.Wait()
	t.Logf("statuses, by client: %v", statuses)
	if statuses[0][200] < bodies/clients/10 || statuses[0][400] < bodies/clients/4 {
		t.Error("the bodies are all too good or all too bad to tell much")
	}
	for _, body := range []sent{
		{chatPath, chatBody("")}, {textPath, `{"prompt":"hello"}`}, {itemPath, inputBody("")},
	} {
		if status := deliver(t, server, body); status != http.StatusOK {
			t.Errorf("afterwards %s answers %d", body.path, status)
		}
	}
	if stats := e.Stats(); stats.Running+stats.Waiting > 0 {
		t.Errorf("completions are left: %+v", stats)
	}
}

// deliver sends a body and returns the status of the answer, which must be JSON
// or a stream.
func deliver(t *testing.T, server *httptest.Server, body sent) int {
	response, err := server.Client().Post(server.URL+body.path, "application/json",
		strings.NewReader(body.body))
	if err != nil {
		t.Errorf("%s %.200q: %v", body.path, body.body, err)
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		t.Errorf("%s %.200q: %v", body.path, body.body, err)
	case response.StatusCode != http.StatusOK:
		if _, err := parseError(answer); err != nil {
			t.Errorf("%s %.200q: %v in %s", body.path, body.body, err, answer)
		}
	case strings.Contains(string(answer), `"internal_error"`),
		strings.Contains(string(answer), `"server_error"`):
		t.Errorf("%s %.200q: the stream ends with %s", body.path, body.body, answer)
	case strings.HasPrefix(response.Header.Get("Content-Type"), "application/json"):
		if !json.Valid(answer) {
			t.Errorf("%s %.200q: not JSON: %s", body.path, body.body, answer)
		}
	}
	return response.StatusCode
}

// FuzzAbuse is TestAbuse with bodies that the fuzzer makes.
func FuzzAbuse(f *testing.F) {
	a := newAbuse()
	for i := range uint64(200) {
		if sent := a.next(i); len(sent.body) < 2000 {
			f.Add(sent.path, sent.body)
		}
	}
	s, _ := newToyServer(f)
	f.Fuzz(func(t *testing.T, path, body string) {
		if !slices.Contains([]string{chatPath, textPath, itemPath, "/tokenize", "/detokenize"}, path) {
			t.Skip("no endpoint with a body")
		}
		w := do(s, http.MethodPost, path, body)
		if w.Code >= 500 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if w.Code != http.StatusOK {
			decodeError(t, w)
		}
	})
}

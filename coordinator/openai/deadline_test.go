package openai

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
)

// A request whose time is over gets a 504; one that has begun to stream gets it
// as its last event.
func TestDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		server time.Duration
		header string
	}{
		"the server's":                       {30 * time.Millisecond, ""},
		"the request's":                      {0, "0.03"},
		"the request's, before the server's": {time.Hour, "3e-2"},
		"the server's, before the request's": {30 * time.Millisecond, "3600"},
	} {
		s, e := newServer(t, "", func(cfg *Config) { cfg.RequestTimeout = c.server })
		e.hold = true
		e.script = func(r engine.Request) ([]engine.Event, error) { return e.say(r, "hi", ""), nil }
		w := with(s, "POST", chatPath, chatBody(""), timeoutHeader, c.header)
		got := decodeError(t, w)
		if w.Code != 504 || got.Code != "deadline_exceeded" || got.Type != typeServer ||
			w.Header().Get("X-Should-Retry") != "false" {
			t.Errorf("%s: %d %v %+v", name, w.Code, w.Header(), got)
		}
		if _, bounded := e.contexts[0].Deadline(); !bounded {
			t.Errorf("%s: the engine does not know of the deadline", name)
		}
		w = with(s, "POST", chatPath, chatBody(`"stream":true`), timeoutHeader, c.header)
		events := strings.Split(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n")
		last, err := parseError([]byte(strings.TrimPrefix(events[len(events)-1], "data: ")))
		if w.Code != 200 || err != nil || last.Code != "deadline_exceeded" || len(events) < 3 {
			t.Errorf("%s: stream %d %s (%v)", name, w.Code, w.Body, err)
		}
		w = with(s, "POST", itemPath, inputBody(`"stream":true`), timeoutHeader, c.header)
		if body := w.Body.String(); !strings.Contains(body, `"status":"failed"`) {
			t.Errorf("%s: response %d %s", name, w.Code, body)
		}
	}
}

// However the engine tells of a deadline, the client hears of one.
func TestEngineEndsAtTheDeadline(t *testing.T) {
	for _, last := range []engine.Event{
		{Token: -1, Finish: engine.FinishError, Err: engine.ErrDeadline},
		{Token: -1, Finish: engine.FinishCancelled},
	} {
		s, e := newServer(t, "")
		e.script = func(engine.Request) ([]engine.Event, error) {
			<-e.contexts[len(e.contexts)-1].Done()
			return []engine.Event{last}, nil
		}
		w := with(s, "POST", textPath, `{"prompt":"a"}`, timeoutHeader, "0.01")
		if got := decodeError(t, w); w.Code != 504 || got.Code != "deadline_exceeded" {
			t.Errorf("%+v: %d %+v", last, w.Code, got)
		}
	}
	s, e := newServer(t, "")
	e.script = func(engine.Request) ([]engine.Event, error) { return nil, engine.ErrDeadline }
	if w := do(s, "POST", textPath, `{"prompt":"a"}`); w.Code != 504 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTimeoutsThatMakeNoSense(t *testing.T) {
	s, e := newServer(t, "hello")
	for _, asked := range []string{"0", "-1", "soon", "NaN", "+Inf", "1e10", "10s", "0x1p-2000"} {
		w := with(s, "POST", chatPath, chatBody(""), timeoutHeader, asked)
		if got := decodeError(t, w); w.Code != 400 || got.Param != timeoutHeader {
			t.Errorf("%q: %d %+v", asked, w.Code, got)
		}
	}
	if len(e.requests) > 0 {
		t.Error("a refused request reached the engine")
	}
	if w := with(s, "POST", chatPath, chatBody(""), timeoutHeader, "1e9"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, bounded := e.contexts[0].Deadline(); !bounded {
		t.Error("the longest timeout is none")
	}
}

// What a client that is turned away is told to wait is what a place takes to
// become free: a completion's time over those that run.
func TestRetryAfter(t *testing.T) {
	s, e := newServer(t, "hello")
	e.script = func(engine.Request) ([]engine.Event, error) { return nil, engine.ErrQueueFull }
	for _, c := range []struct {
		took time.Duration
		want string
	}{
		{0, "1"}, {900 * time.Millisecond, "1"}, {9 * time.Second, "5"}, {time.Hour, "60"},
	} {
		s.pace = pace{}
		if c.took > 0 {
			s.pace.add(c.took)
		}
		w := do(s, "POST", chatPath, chatBody(""))
		if got := w.Header().Get("Retry-After"); w.Code != 429 || got != c.want { // two are running
			t.Errorf("%v: %d, Retry-After %q, want %q", c.took, w.Code, got, c.want)
		}
	}
	s.pace = pace{}
	s.pace.add(10 * time.Second)
	for range 100 {
		s.pace.add(20 * time.Second)
	}
	if s.pace.mean < 19.9 || s.pace.mean > 20 {
		t.Errorf("the mean after a change is %v", s.pace.mean)
	}
	e.script = func(engine.Request) ([]engine.Event, error) { return nil, errors.New("disk on fire") }
	if w := do(s, "POST", chatPath, chatBody("")); w.Header().Get("Retry-After") != "" {
		t.Errorf("%d has Retry-After", w.Code)
	}
}

package coordinator

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// Orders that would leave experts without a place are refused, and say why.
func TestCheckOrder(t *testing.T) {
	o := &orders{model: thisModel, layers: []shard.Layer{{Experts: 8, ExpertBytes: 10}}}
	sized := func(id string, bytes int64) membership.Worker { return membership.Worker{ID: id, Capacity: bytes} }
	draining := worker("b")
	draining.Draining = true
	foreign := worker("b")
	foreign.Model = "another"
	ordered := func(id, do string, workers ...membership.Worker) membership.State {
		s := registry(nil, workers...)
		s.Orders = map[string]membership.Order{id: {Do: do}}
		return s
	}
	for _, c := range []struct {
		name   string
		state  membership.State
		req    DrainRequest
		status int
		says   string
	}{
		{"one of two", registry(nil, worker("a"), worker("b")), DrainRequest{Worker: "a", Do: "leave"}, 0, ""},
		{"nobody of that name", registry(nil, worker("a"), worker("b")), DrainRequest{Worker: "c", Do: "keep"},
			http.StatusNotFound, `no worker "c"; there are: a, b`},
		{"the last one", registry(nil, worker("a")), DrainRequest{Worker: "a", Do: "keep"},
			http.StatusConflict, "a is the last one"},
		{"the last one, by force", registry(nil, worker("a")), DrainRequest{Worker: "a", Do: "keep", Force: true}, 0, ""},
		{"the last that stays", registry(nil, worker("a"), draining), DrainRequest{Worker: "a", Do: "leave"},
			http.StatusConflict, "last one"},
		{"the last without an order", ordered("b", "leave", worker("a"), worker("b")),
			DrainRequest{Worker: "a", Do: "leave"}, http.StatusConflict, "last one"},
		{"the last of its model", registry(nil, worker("a"), foreign), DrainRequest{Worker: "a", Do: "leave"},
			http.StatusConflict, "last one"},
		{"another model's", registry(nil, worker("a"), foreign), DrainRequest{Worker: "b", Do: "leave"}, 0, ""},
		{"the others are too small", registry(nil, worker("a"), sized("b", 40), sized("c", 30)),
			DrainRequest{Worker: "a", Do: "leave"}, http.StatusConflict, "the experts take 80 bytes, the workers offer 70"},
		{"they just suffice", registry(nil, worker("a"), sized("b", 40), sized("c", 40)),
			DrainRequest{Worker: "a", Do: "leave"}, 0, ""},
		{"back to work", registry(nil, draining), DrainRequest{Worker: "b", Do: "serve"}, 0, ""},
		{"back to work, when it comes", ordered("gone", "keep", worker("a")),
			DrainRequest{Worker: "gone", Do: "serve"}, 0, ""},
		{"nonsense", registry(nil, worker("a"), worker("b")), DrainRequest{Worker: "a", Do: "dance"},
			http.StatusBadRequest, `cannot "dance"`},
	} {
		err := o.check(c.state, c.req)
		refused := new(refusal)
		switch {
		case c.status == 0 && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.status != 0 && (!errors.As(err, &refused) || refused.status != c.status ||
			!strings.Contains(refused.message, c.says)):
			t.Errorf("%s: %v, want %d and %q", c.name, err, c.status, c.says)
		}
	}
}

// What is not an order is refused before anybody is asked.
func TestOrderIsReadStrictly(t *testing.T) {
	o := &orders{model: thisModel}
	for _, c := range []struct {
		kind, body string
		want       int
	}{
		{"text/plain", `{"worker":"a","do":"leave"}`, http.StatusUnsupportedMediaType},
		{"application/json", `{"worker":`, http.StatusBadRequest},
		{"application/json", `{"worker":"a","do":"leave","now":true}`, http.StatusBadRequest},
		{"application/json; charset=utf-8", `{"worker":"` + strings.Repeat("a", maxDrainRequest) + `"}`,
			http.StatusBadRequest},
	} {
		r := httptest.NewRequest(http.MethodPost, DrainPath, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		if w.Code != c.want || !strings.Contains(w.Body.String(), `"error":{"message":`) {
			t.Errorf("%.40s: %d %s", c.body, w.Code, w.Body)
		}
	}
}

func TestHandOver(t *testing.T) {
	with := func(id string, draining bool, ready ...string) membership.Worker {
		return membership.Worker{ID: id, Draining: draining, Ready: ready}
	}
	state := registry(nil, with("a", false, "0-2", ""), with("b", true, "0-5", "1,7"), with("c", true, "5"))
	s := Status{Fingerprint: thisModel}
	s.setMembers(state, nil)
	s.setDrains(state, 2)
	if a, b, c := s.Workers[0].HandOver, s.Workers[1].HandOver, s.Workers[2].HandOver; a != 0 || b != 5 || c != 1 {
		t.Errorf("to hand over: a %d, b %d, c %d; want 0, 5, 1", a, b, c)
	}
}

package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// DrainPath is where a coordinator takes orders for workers, by POST.
const DrainPath = "/conclave/v1/drain"

// DrainRequest asks a worker to hand its experts over.
type DrainRequest struct {
	Worker string `json:"worker"`
	// Do is "leave", "keep" or "serve"; see membership.Order.
	Do string `json:"do"`
	// Force gives the order though the other workers cannot hold the experts.
	Force bool `json:"force,omitempty"`
}

// DrainReply says that the order is in the registry.
type DrainReply struct {
	Worker string `json:"worker"`
	// Incarnation is the run of the worker that got it; "" if it does not run now.
	Incarnation string `json:"incarnation,omitempty"`
}

const (
	maxDrainRequest = 4 << 10
	// drainTimeout bounds the way of an order to etcd.
	drainTimeout = 5 * time.Second
)

// refusal is why an order was not given.
type refusal struct {
	status  int
	message string
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

// orders gives operators' orders to workers.
type orders struct {
	client *membership.Client
	model  string
	layers []shard.Layer
	mu     sync.Mutex // one at a time: the second sees what the first has taken
}

// ServeHTTP implements http.Handler.
func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, err := o.take(w, r)
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(reply) // the client may have gone
		return
	}
	status, kind := http.StatusServiceUnavailable, "server_error"
	if refused := new(refusal); errors.As(err, &refused) {
		status, kind = refused.status, "invalid_request_error"
	}
	var body struct {
		Error struct {
			Message string `json:"message"`
			Type    string `json:"type"`
		} `json:"error"`
	}
	body.Error.Message, body.Error.Type = err.Error(), kind
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have gone
}

func (o *orders) take(w http.ResponseWriter, r *http.Request) (*DrainReply, error) {
	// A browser sends other types to strangers' servers without asking first.
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		return nil, &refusal{http.StatusUnsupportedMediaType, "send application/json"}
	}
	var req DrainRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxDrainRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return nil, &refusal{http.StatusBadRequest, "read the order: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(r.Context(), drainTimeout)
	defer cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	state, err := o.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.check(state, req); err != nil {
		return nil, err
	}
	order := membership.Order{
		Do: req.Do, Force: req.Force, Incarnation: state.Workers[req.Worker].Incarnation,
	}
	if err := o.client.PutOrder(ctx, req.Worker, order); err != nil {
		return nil, err
	}
	return &DrainReply{Worker: req.Worker, Incarnation: order.Incarnation}, nil
}

// read asks the registry, and not what was last heard of it: the answer decides whether the
// last copy of something may go.
func (o *orders) read(ctx context.Context) (membership.State, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for state := range o.client.Watch(ctx) {
		return state, nil
	}
	return membership.State{}, errors.New("the registry (etcd) does not answer: try again later")
}

// check says why an order cannot be given in a state; nil if it can.
func (o *orders) check(state membership.State, req DrainRequest) error {
	worker, registered := state.Workers[req.Worker]
	_, ordered := state.Orders[req.Worker]
	if !registered && !(ordered && req.Do == membership.OrderServe) {
		if len(state.Workers) == 0 {
			return &refusal{http.StatusServiceUnavailable,
				"no worker is registered at this moment: try again later"}
		}
		ids := slices.Sorted(maps.Keys(state.Workers))
		return &refusal{http.StatusNotFound,
			fmt.Sprintf("there is no worker %q; there are: %s", req.Worker, strings.Join(ids, ", "))}
	}
	switch {
	case req.Do == membership.OrderServe:
		return nil
	case req.Do != membership.OrderLeave && req.Do != membership.OrderKeep:
		return &refusal{http.StatusBadRequest, fmt.Sprintf("cannot %.20q: do is one of %q",
			req.Do, []string{membership.OrderLeave, membership.OrderKeep, membership.OrderServe})}
	case req.Force, worker.Model != o.model:
		return nil
	}
	var rest []shard.Capacity
	for id, w := range state.Workers {
		order := state.Orders[id].Do
		goes := w.Draining || order == membership.OrderLeave || order == membership.OrderKeep
		if id != req.Worker && w.Model == o.model && !goes {
			rest = append(rest, shard.Capacity{ID: shard.WorkerID(id), Bytes: w.Capacity})
		}
	}
	if len(rest) == 0 {
		return &refusal{http.StatusConflict, fmt.Sprintf("worker %s is the last one: nobody could "+
			"take its experts; start another, or insist with force", req.Worker)}
	}
	if _, err := shard.Next(nil, o.model, o.layers, rest, 1); err != nil {
		return &refusal{http.StatusConflict, fmt.Sprintf("without worker %s: %v; or insist with force",
			req.Worker, err)}
	}
	return nil
}

// setDrains says what draining workers still have to hand over: the experts that nobody else
// has ready who stays.
func (s *Status) setDrains(state membership.State, layers int) {
	others := make([]shard.Set, layers)
	for _, w := range state.Workers {
		ready, err := readySets(w.Ready, layers)
		if err != nil || w.Draining || w.Model != s.Fingerprint {
			continue
		}
		for l, set := range ready {
			for _, e := range set.Experts() {
				others[l].Add(e)
			}
		}
	}
	for i := range s.Workers {
		w := &s.Workers[i]
		ready, err := readySets(w.Experts, layers)
		if err != nil || !w.Draining {
			continue
		}
		for l, set := range ready {
			w.HandOver += set.Minus(others[l]).Len()
		}
	}
}

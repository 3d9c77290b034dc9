package membership

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Member is a process as gossip knows it.
type Member struct {
	ID          string
	Incarnation string
	Role        string // RoleCoordinator or RoleWorker
	Addr        string // where it serves
	Epoch       uint64 // last plan applied (worker) or table in use (coordinator)
	Load        Load
	Alive       bool
}

// EventKind says what happened to a member.
type EventKind int

// Kinds of events.
const (
	EventAlive  EventKind = iota // joined, came back, or was restarted
	EventDead                    // left, or answers nobody
	EventUpdate                  // its metadata changed
)

func (k EventKind) String() string {
	switch k {
	case EventAlive:
		return "alive"
	case EventDead:
		return "dead"
	case EventUpdate:
		return "update"
	}
	return "unknown"
}

// Event is a change of a member, with what is known of it afterwards.
type Event struct {
	Kind   EventKind
	Member Member
}

// deadMemory is how long Members remembers the dead.
const deadMemory = 10 * time.Minute

// roster is memberlist's event delegate and the table of members. memberlist calls it under
// its own lock: nothing here waits or calls back.
type roster struct {
	self string // own id: no events about it
	log  *slog.Logger
	wake chan struct{} // buffer 1: the queue changed

	mu    sync.Mutex
	nodes map[string]node // alive, by memberlist's name: one for each run of a process
	seen  map[string]view // by id: what the others are told
	queue []Event         // at most one for each id, oldest first
}

// node is one run of a process that is alive.
type node struct {
	member  Member
	started int64
	gossip  string // host:port
}

// view is a member as last told, and since when it is dead.
type view struct {
	member Member
	died   time.Time
}

func newRoster(self string, log *slog.Logger) *roster {
	return &roster{
		self: self, log: log, wake: make(chan struct{}, 1),
		nodes: map[string]node{}, seen: map[string]view{},
	}
}

// NotifyJoin implements memberlist.EventDelegate.
func (r *roster) NotifyJoin(n *memberlist.Node) { r.record(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (r *roster) NotifyUpdate(n *memberlist.Node) { r.record(n) }

// NotifyLeave implements memberlist.EventDelegate.
func (r *roster) NotifyLeave(n *memberlist.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gone, ok := r.nodes[n.Name]; ok {
		delete(r.nodes, n.Name)
		r.settle(gone.member.ID)
	}
	for id, v := range r.seen {
		if !v.member.Alive && time.Since(v.died) > deadMemory {
			delete(r.seen, id)
		}
	}
}

// record takes over a node that is alive.
func (r *roster) record(n *memberlist.Node) {
	id, incarnation, ok := splitName(n.Name)
	m, err := decodeMeta(n.Meta)
	if err == nil && ok {
		err = checkRecord(identity{id, incarnation}, m.addr)
	}
	if !ok || err != nil {
		r.log.Warn("ignoring a gossip member that is not ours", "name", n.Name, "err", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes[n.Name] = node{
		member: Member{
			ID: id, Incarnation: incarnation, Role: m.role, Addr: m.addr,
			Epoch: m.epoch, Load: m.load, Alive: true,
		},
		started: m.started, gossip: n.Address(),
	}
	r.settle(id)
}

// settle decides what is true of id now and queues an event if that is new. r.mu is held.
func (r *roster) settle(id string) {
	before := r.seen[id].member
	now, died := before, time.Now()
	now.Alive = false
	var latest int64
	for _, n := range r.nodes {
		// Two runs of one process overlap until the older one is found dead.
		if n.member.ID == id && (!now.Alive || n.started > latest) {
			now, latest, died = n.member, n.started, time.Time{}
		}
	}
	if now == before {
		return
	}
	r.seen[id] = view{now, died}
	kind := EventUpdate
	switch {
	case !now.Alive:
		kind = EventDead
	case !before.Alive || before.Incarnation != now.Incarnation:
		kind = EventAlive
	}
	if id != r.self {
		r.enqueue(Event{kind, now})
	}
}

// enqueue puts e in place of an older event of the same member. r.mu is held.
func (r *roster) enqueue(e Event) {
	i := slices.IndexFunc(r.queue, func(q Event) bool { return q.Member.ID == e.Member.ID })
	if i < 0 {
		r.queue = append(r.queue, e)
	} else {
		if e.Kind == EventUpdate && r.queue[i].Kind == EventAlive {
			e.Kind = EventAlive // the reader has not heard of it yet
		}
		r.queue[i] = e
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// pump moves events from the queue to out until ctx ends.
func (r *roster) pump(ctx context.Context, out chan<- Event) {
	for {
		head, ok := r.head()
		var to chan<- Event // nil while there is nothing to send
		if ok {
			to = out
		}
		select {
		case to <- head:
			r.sent(head)
		case <-r.wake: // the head may have been replaced by a later event
		case <-ctx.Done():
			return
		}
	}
}

// head returns the oldest waiting event.
func (r *roster) head() (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return Event{}, false
	}
	return r.queue[0], true
}

// sent removes e from the queue unless a later event took its place while it was sent.
func (r *roster) sent(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 && r.queue[0] == e {
		r.queue = slices.Delete(r.queue, 0, 1)
	}
}

// members lists everybody, ordered by id.
func (r *roster) members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Member, 0, len(r.seen))
	for _, v := range r.seen {
		all = append(all, v.member)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// addresses returns where the living listen for gossip.
func (r *roster) addresses() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]bool, len(r.nodes)+1)
	for _, n := range r.nodes {
		all[n.gossip] = true
	}
	return all
}

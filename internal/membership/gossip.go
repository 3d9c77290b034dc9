package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Roles of a member.
const (
	RoleCoordinator = "coordinator"
	RoleWorker      = "worker"
)

// GossipConfig describes this process to the others. Zero values mean the defaults.
type GossipConfig struct {
	ID            string // required
	Incarnation   string // of this run; default: drawn at random
	Role          string // RoleCoordinator or RoleWorker
	Addr          string // where it serves: gRPC of a worker, HTTP of a coordinator
	Cluster       string // members of other clusters are refused; default "default"
	BindAddr      string // IP address to listen on; default 127.0.0.1
	AdvertiseAddr string // IP address told to others; default: found from BindAddr
	Port          int    // UDP and TCP; 0: a free one
	Key           []byte // 16, 24 or 32 bytes for AES-GCM; nil: TakeSeat's from the registry
	Log           *slog.Logger
}

// Gossip is this process's seat among the members. Its methods may be called concurrently.
type Gossip struct {
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring // nil: in the clear
	addr    string
	self    *selfMeta
	roster  *roster
	events  chan Event

	cancel context.CancelFunc
	wg     sync.WaitGroup

	closing sync.Mutex // Leave and Close exclude each other
	closed  bool
}

const (
	// Detection: a dead member is probed within about one interval, suspected one interval
	// later, and has suspicion to refute; together about a second. Probing faster starts to
	// suspect members of a machine whose cores are all busy; slower makes a dead worker cost
	// more than one second of latency where no call is under way to notice it.
	probeEvery = 200 * time.Millisecond
	probeAck   = 120 * time.Millisecond // then other members and TCP are tried, till the interval ends
	// suspicionMult × probeEvery = 600 ms to refute; without a second witness twice that.
	suspicionMult    = 3
	suspicionMaxMult = 2
	// awarenessMax: a process that misses its own deadlines slows its probes down to a quarter
	// before it blames others.
	awarenessMax = 4

	gossipEvery   = 100 * time.Millisecond
	pushPullEvery = 5 * time.Second // repairs what gossip lost
	joinTimeout   = 2 * time.Second // for one peer that does not answer
	// maxStrangers are joined at a time, drawn at random: those who answer name the others,
	// and those who do not must not hold up who does.
	maxStrangers = 16

	// metaEvery is the least pause between two announcements of load: each one is flooded to
	// every member.
	metaEvery = 250 * time.Millisecond
	// metaSpread bounds the wait for an announcement to go out.
	metaSpread = 500 * time.Millisecond
	// leaveSpread is time enough for the news of a departure to reach several members.
	leaveSpread = 6 * gossipEvery
)

// JoinGossip starts to listen and to gossip; it knows nobody until Join.
func JoinGossip(cfg GossipConfig) (*Gossip, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("join gossip: %w", err)
	}
	self := &selfMeta{
		meta:  meta{role: cfg.Role, started: time.Now().UnixNano(), addr: cfg.Addr},
		dirty: make(chan struct{}, 1),
	}
	g := &Gossip{
		self: self, roster: newRoster(cfg.ID, cfg.Log), events: make(chan Event),
	}
	m := cfg.memberlist(self, g.roster)
	transport, err := newTransport(m, m.Logger)
	if err != nil {
		return nil, fmt.Errorf("join gossip as %s on %s: %w", cfg.ID, cfg.BindAddr, err)
	}
	m.Transport = transport
	if g.list, err = memberlist.Create(m); err != nil {
		return nil, errors.Join(
			fmt.Errorf("join gossip as %s on %s: %w", cfg.ID, cfg.BindAddr, err), transport.Shutdown())
	}
	g.keyring = m.Keyring
	// Now, because it never changes, and memberlist writes it again with every announcement.
	g.addr = g.list.LocalNode().Address()
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.wg.Go(func() { g.announce(ctx) })
	g.wg.Go(func() {
		defer close(g.events)
		g.roster.pump(ctx, g.events)
	})
	return g, nil
}

// complete fills in defaults and reports everything that is wrong.
func (cfg *GossipConfig) complete() error {
	var errs []error
	if err := checkID(cfg.ID); err != nil {
		errs = append(errs, err)
	}
	if cfg.Incarnation == "" {
		cfg.Incarnation = NewIncarnation()
	}
	if err := checkID(cfg.Incarnation); err != nil {
		errs = append(errs, fmt.Errorf("incarnation: %w", err))
	}
	if !slices.Contains(roles, cfg.Role) {
		errs = append(errs, fmt.Errorf("role %q is not one of %q", cfg.Role, roles))
	}
	if len(cfg.Addr) > maxAddrBytes {
		errs = append(errs, fmt.Errorf("address of %d bytes is longer than %d",
			len(cfg.Addr), maxAddrBytes))
	}
	if n := len(cfg.Key); n != 0 && n != 16 && n != 24 && n != 32 {
		errs = append(errs, fmt.Errorf("key has %d bytes, allowed are 16, 24 and 32", n))
	}
	if cfg.Port < 0 || cfg.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d is not between 0 and 65535", cfg.Port))
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "default"
	}
	if err := checkID(cfg.Cluster); err != nil {
		errs = append(errs, fmt.Errorf("cluster name: %w", err))
	}
	if cfg.BindAddr == "" {
		cfg.BindAddr = "127.0.0.1"
	}
	for _, addr := range []string{cfg.BindAddr, cfg.AdvertiseAddr} {
		// memberlist listens on every interface when it cannot read the address.
		if net.ParseIP(addr) == nil && addr != "" {
			errs = append(errs, fmt.Errorf("%q is not an IP address", addr))
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

// memberlist returns the tuned configuration.
func (cfg *GossipConfig) memberlist(self *selfMeta, r *roster) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = nodeName(cfg.ID, cfg.Incarnation)
	m.Label = "conclave/" + cfg.Cluster
	m.BindAddr, m.BindPort = cfg.BindAddr, cfg.Port
	m.AdvertiseAddr, m.AdvertisePort = cfg.AdvertiseAddr, cfg.Port
	m.SecretKey = cfg.Key
	m.ProbeInterval, m.ProbeTimeout = probeEvery, probeAck
	m.SuspicionMult, m.SuspicionMaxTimeoutMult = suspicionMult, suspicionMaxMult
	m.AwarenessMaxMultiplier = awarenessMax
	m.GossipInterval, m.PushPullInterval = gossipEvery, pushPullEvery
	m.TCPTimeout = joinTimeout
	m.Delegate, m.Events = self, r
	m.Logger = slog.NewLogLogger(
		cfg.Log.With("component", "memberlist").Handler(), slog.LevelDebug)
	return m
}

// Addr is the address that others join: host:port.
func (g *Gossip) Addr() string { return g.addr }

// Join contacts the peers (host:port) that are not known to be alive, and returns how many of
// peers are members now. The error names those that did not answer; it is nil when at least
// one did or is known. It may take two seconds for each silent peer. Members that were told of
// nobody, or cut off for long, find the others only this way: call it with the addresses in
// the registry whenever those change.
func (g *Gossip) Join(peers []string) (n int, err error) {
	known := g.roster.addresses()
	known[g.Addr()] = true
	var unknown []string
	for _, p := range peers {
		switch {
		case known[p]:
			n++
		case p != "": // somebody who does not gossip
			unknown = append(unknown, p)
		}
	}
	if len(unknown) == 0 {
		return n, nil
	}
	if len(unknown) > maxStrangers {
		rand.Shuffle(len(unknown), func(i, j int) {
			unknown[i], unknown[j] = unknown[j], unknown[i]
		})
		unknown = unknown[:maxStrangers]
	}
	reached, err := g.list.Join(unknown)
	if n += reached; n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("join gossip through %s: %w", strings.Join(unknown, ", "), err)
}

// Members returns everybody known, this process included, ordered by id. The dead stay in it,
// with Alive false, for ten minutes.
func (g *Gossip) Members() []Member { return g.roster.members() }

// Events delivers changes of other members. For each member only the latest waits, so a slow
// reader misses steps and never the end; it is closed by Close. There is one channel: events
// go to whoever reads first.
func (g *Gossip) Events() <-chan Event { return g.events }

// SetMeta changes what this process says about itself. It never blocks; what changed is
// announced soon, at most four times a second.
func (g *Gossip) SetMeta(epoch uint64, load Load) {
	if g.self.set(epoch, load) {
		select {
		case g.self.dirty <- struct{}{}:
		default:
		}
	}
}

// announce spreads changes of this process's metadata until ctx ends.
func (g *Gossip) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.self.dirty:
		}
		// A timeout only says that nobody fetched the message yet; push and pull repairs that.
		_ = g.list.UpdateNode(metaSpread)
		if !wait(ctx, metaEvery) {
			return
		}
	}
}

// Leave tells the others that this process goes, so that they need not find out. It does not
// wait for members that leave at the same time: they no longer listen. Call Close afterwards.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.closed {
		return nil
	}
	if err := g.list.Leave(min(timeout, leaveSpread)); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// Close stops at once; without Leave before it, this looks like a crash to the others. It may
// be called more than once.
func (g *Gossip) Close() error {
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	g.cancel()
	g.wg.Wait()
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("close gossip: %w", err)
	}
	return nil
}

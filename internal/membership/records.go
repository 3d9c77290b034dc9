package membership

import (
	"fmt"
	"strings"
	"time"
)

// Worker is what a worker says about itself in the registry.
type Worker struct {
	// ID names the worker across restarts; Incarnation names one run of it and is drawn at
	// random by RegisterWorker when empty.
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr"`           // gRPC, host:port
	Gossip      string `json:"gossip"`         // memberlist, host:port
	Zone        string `json:"zone,omitempty"` // failure domain
	Model       string `json:"model"`          // fingerprint of the checkpoint
	Capacity    int64  `json:"capacity"`       // bytes for experts
	// Memory is what the machine has, in bytes, 0 if that is not known: a worker
	// without a capacity of its own gets second copies of experts only within it.
	Memory int64 `json:"memory,omitempty"`
	// Bandwidth is how many bytes of weights the worker read in a second, and Compute
	// how many operations it did, when it started; 0: not measured.
	Bandwidth float64 `json:"bandwidth,omitempty"`
	Compute   float64 `json:"compute,omitempty"`
	// Ready lists, for each layer, the experts that are loaded, as written by shard.Set
	// ("0-7,12"; empty: none).
	Ready     []string `json:"ready,omitempty"`
	PlanEpoch uint64   `json:"plan_epoch"` // last plan applied
	Draining  bool     `json:"draining,omitempty"`
	// Started is when this incarnation registered; set by RegisterWorker when zero.
	Started time.Time `json:"started"`
}

// Coordinator is what a coordinator says about itself in the registry.
type Coordinator struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr"`   // HTTP, host:port
	Gossip      string `json:"gossip"` // memberlist, host:port
	Model       string `json:"model"`  // fingerprint of the checkpoint
	// Quant is what this coordinator's own weights are quantised to; all of a cluster have
	// the same.
	Quant string `json:"quant,omitempty"`
	// TableEpoch: every step in flight uses a routing table of at least this epoch.
	TableEpoch uint64    `json:"table_epoch"`
	Started    time.Time `json:"started"`
}

// State is one consistent snapshot of the registry. It is shared: treat it as read-only.
type State struct {
	Revision     int64 // of etcd's store; 0 in no real snapshot
	Workers      map[string]Worker
	Coordinators map[string]Coordinator
	Orders       map[string]Order // by worker
	Plan         []byte           // nil: none was put yet
	PlanRevision int64            // for Office.PutPlan; 0: none was put yet
	Controller   string           // id of the elected controller; empty: none
	// Connected says whether etcd answered lately. When false, the rest is the last state seen.
	Connected bool
}

// record is a value that lives under a leased key of its own.
type record interface {
	Worker | Coordinator
	identity() identity
	check() error
}

// identity is the part of a record that never changes after registration.
type identity struct{ ID, Incarnation string }

func (w Worker) identity() identity      { return identity{w.ID, w.Incarnation} }
func (k Coordinator) identity() identity { return identity{k.ID, k.Incarnation} }

// maxIDBytes bounds a member's id: it is part of every gossip message.
const maxIDBytes = 128

// checkID refuses ids that could not be a key or a gossip name.
func checkID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("id is empty")
	case len(id) > maxIDBytes:
		return fmt.Errorf("id of %d bytes is longer than %d", len(id), maxIDBytes)
	case strings.ContainsAny(id, "/\x00"):
		return fmt.Errorf("id %q contains a slash or a zero byte", id)
	case !printable(id):
		return fmt.Errorf("id %q contains what is not for terminals", id)
	}
	return nil
}

// keys builds and takes apart the cluster's keys. Everybody watches root; nobody watches loads.
type keys struct{ root, loads string }

func clusterKeys(cluster string) keys {
	return keys{root: "/conclave/v1/" + cluster + "/", loads: "/conclave/loads/v1/" + cluster + "/"}
}

const (
	workersFolder      = "workers/"
	coordinatorsFolder = "coordinators/"
	ordersFolder       = "orders/"
)

func (k keys) worker(id string) string      { return k.root + workersFolder + id }
func (k keys) coordinator(id string) string { return k.root + coordinatorsFolder + id }
func (k keys) order(worker string) string   { return k.root + ordersFolder + worker }
func (k keys) plan() string                 { return k.root + "plan" }
func (k keys) controller() string           { return k.root + "controller/leader" }
func (k keys) gossipKey() string            { return k.root + "gossip_key" }
func (k keys) load(id string) string        { return k.loads + id }

package membership

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
)

// Load is how busy a member says it is.
type Load struct {
	Queue float32 // requests waiting
}

// clean replaces what is not a number by zero: members and events are compared for equality.
func (l Load) clean() Load {
	if l.Queue != l.Queue {
		l.Queue = 0
	}
	return l
}

// meta is what travels in memberlist's node metadata. Its encoding, little-endian:
//
//	version u8 = 1 | role u8 | epoch u64 | queue f32 | started u64 | addr, the rest
//
// memberlist allows 512 bytes and panics at 513: lists of anything belong in etcd.
type meta struct {
	role    string
	epoch   uint64
	load    Load
	started int64 // Unix nanoseconds; of two runs of one id, the later one counts
	addr    string
}

const (
	metaVersion  = 1
	metaFixed    = 1 + 1 + 8 + 4 + 8
	maxAddrBytes = 256 // a host name of 253 would not fit with much else; IPv6 takes 47
)

// roles in the order of their code in meta.
var roles = []string{RoleCoordinator, RoleWorker}

func (m meta) encode() []byte {
	code := byte(0)
	if m.role == RoleWorker {
		code = 1
	}
	b := make([]byte, 0, metaFixed+len(m.addr))
	b = append(b, metaVersion, code)
	b = binary.LittleEndian.AppendUint64(b, m.epoch)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(m.load.Queue))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.started))
	return append(b, m.addr...)
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) < metaFixed || b[0] != metaVersion {
		return meta{}, fmt.Errorf("metadata of %d bytes is not of version %d", len(b), metaVersion)
	}
	if int(b[1]) >= len(roles) {
		return meta{}, fmt.Errorf("metadata has unknown role %d", b[1])
	}
	return meta{
		role:  roles[b[1]],
		epoch: binary.LittleEndian.Uint64(b[2:]),
		load: Load{
			Queue: math.Float32frombits(binary.LittleEndian.Uint32(b[10:])),
		}.clean(),
		started: int64(binary.LittleEndian.Uint64(b[14:])),
		addr:    string(b[metaFixed:]),
	}, nil
}

// nodeName is the name in memberlist: one for each run of a process. memberlist refuses a known
// name from a new address until the old one is dead, so a restarted process under its old name
// would stay unseen for seconds.
func nodeName(id, incarnation string) string { return id + "/" + incarnation }

// splitName undoes nodeName; neither part contains a slash.
func splitName(name string) (id, incarnation string, ok bool) { return strings.Cut(name, "/") }

// selfMeta is memberlist's delegate: it hands out this process's metadata and nothing else.
// memberlist calls it from its packet loop, so nothing here waits.
type selfMeta struct {
	dirty chan struct{} // buffer 1: meta changed since it was announced

	mu   sync.Mutex
	meta meta
}

// set reports whether anything changed.
func (s *selfMeta) set(epoch uint64, load Load) bool {
	load = load.clean()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.epoch == epoch && s.meta.load == load {
		return false
	}
	s.meta.epoch, s.meta.load = epoch, load
	return true
}

// NodeMeta implements memberlist.Delegate.
func (s *selfMeta) NodeMeta(limit int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.meta.encode()
	if len(b) > limit {
		return nil // cannot be: JoinGossip bounds the address
	}
	return b
}

// NotifyMsg implements memberlist.Delegate; there are no user messages.
func (*selfMeta) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate; there are no user messages.
func (*selfMeta) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate; metadata travels with the nodes.
func (*selfMeta) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*selfMeta) MergeRemoteState([]byte, bool) {}

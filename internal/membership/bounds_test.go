package membership

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"id":"w","incarnation":"i","addr":"a:1","ready":["0-7"],"plan_epoch":3}`))
	f.Add([]byte(`{"id":"w","incarnation":"\u001b[31m"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, err := decodeRecord[Worker]("w", data); err == nil {
			for _, text := range []string{w.ID, w.Incarnation, w.Addr, w.Gossip, w.Zone, w.Model} {
				if !printable(text) || len(text) > maxTextBytes {
					t.Errorf("%q was accepted", text)
				}
			}
		}
		if k, err := decodeRecord[Coordinator]("w", data); err == nil && k.ID != "w" {
			t.Errorf("the record of %q was accepted", k.ID)
		}
	})
}

func FuzzDecompressed(f *testing.F) {
	f.Add([]byte(compressed([]byte("{}"))))
	f.Add([]byte(compressed(make([]byte, 2*MaxReportBytes))))
	f.Fuzz(func(t *testing.T, packed []byte) {
		if data, err := decompressed(packed); err == nil && len(data) > MaxReportBytes {
			t.Errorf("%d bytes", len(data))
		}
	})
}

// logged is a log that can be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *logged) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *logged) count(word string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.b.String(), word)
}

// What a stranger writes under the cluster's keys neither counts nor floods the log, and a
// record that is well-formed counts beside it.
func TestHostileRecords(t *testing.T) {
	etcd := startEtcd(t, EmbeddedConfig{})
	log := &logged{}
	c, err := Connect(t.Context(), Config{
		Endpoints: []string{etcd.Endpoint()}, Cluster: "test", Timeout: patience,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	record := func(w Worker) string {
		b, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	hostile := map[string]string{
		"large":        record(Worker{ID: "large", Incarnation: "i", Ready: []string{strings.Repeat("0,", 700<<10)}}),
		"\x1b[31mred":  record(Worker{ID: "\x1b[31mred", Incarnation: "i"}),
		"addr":         record(Worker{ID: "addr", Incarnation: "i", Addr: "\x1b]0;owned\a"}),
		"nobody":       record(Worker{ID: "somebody", Incarnation: "i"}),
		"negative":     record(Worker{ID: "negative", Incarnation: "i", Capacity: -1}),
		"runless":      record(Worker{ID: "runless"}),
		"a/b":          record(Worker{ID: "a/b", Incarnation: "i"}),
		"not json":     "\x00\x01",
		"deep":         strings.Repeat("[", 100_000),
		"of all kinds": `{"id":7}`,
	}
	ctx := soon(t)
	for range 3 { // again and again
		for id, text := range hostile {
			if _, err := c.etcd.Put(ctx, c.keys.worker(id), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	states := c.Watch(t.Context())
	for range 3 {
		for id, text := range hostile {
			if _, err := c.etcd.Put(ctx, c.keys.worker(id), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.etcd.Put(ctx, c.keys.plan(), strings.Repeat("x", MaxPlanBytes+1)); err != nil {
		t.Fatal(err)
	}
	registerWorker(t, c, Worker{ID: "good", Addr: "a:1"})
	s := until(t, states, "the honest worker", hasWorker("good"))
	if len(s.Workers) != 1 || s.Plan != nil || s.PlanRevision == 0 {
		t.Errorf("state %+v", s)
	}
	if n := log.count("ignoring a record"); n != len(hostile) {
		t.Errorf("%d complaints about %d records", n, len(hostile))
	}
	if log.count("\x1b") > 0 {
		t.Error("the log holds control sequences")
	}
}

// Ten thousand workers that nobody has started: the first count, the rest is left out with a
// line each while there is room for lines, and who is there stays.
func TestTooManyRecords(t *testing.T) {
	log := &logged{}
	c := &Client{log: slog.New(slog.NewTextHandler(log, nil)), keys: clusterKeys("test")}
	o := &observer{c: c, state: State{Workers: map[string]Worker{}, Coordinators: map[string]Coordinator{}}}
	put := func(id string) {
		w := Worker{ID: id, Incarnation: "i", Addr: "192.0.2.1:1", Started: time.Unix(1, 0)}
		data, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		o.put(&mvccpb.KeyValue{Key: []byte(c.keys.worker(id)), Value: data})
	}
	put("first")
	for i := range 10_000 {
		put(fmt.Sprintf("fake-%d", i))
	}
	put("first")
	if _, there := o.state.Workers["first"]; !there || len(o.state.Workers) != maxMembers {
		t.Errorf("%d workers, the first among them: %v", len(o.state.Workers), there)
	}
	if n := log.count("ignoring"); n > maxMembers {
		t.Errorf("%d lines", n)
	}
}

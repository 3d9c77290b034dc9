package membership

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func reports(t *testing.T, c *Client) map[string]string {
	t.Helper()
	all, err := c.Reports(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for id, data := range all {
		out[id] = string(data)
	}
	return out
}

func putReport(t *testing.T, c *Client, id, data string) {
	t.Helper()
	if err := c.PutReport(soon(t), id, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// Reports are read by whoever asks, replaced by their writer, and wake nobody.
func TestReports(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	a, b := connect(t, e.Endpoint(), 0), connect(t, e.Endpoint(), 0)
	elsewhere, err := Connect(t.Context(), Config{
		Endpoints: []string{e.Endpoint()}, Cluster: "test2", Timeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = elsewhere.Close() }()
	states := b.Watch(t.Context())
	before := until(t, states, "the first state", func(State) bool { return true })
	putReport(t, a, "a", "one")
	putReport(t, a, "a", "two")
	putReport(t, b, "b", "three")
	putReport(t, elsewhere, "c", "four")
	if d := cmp.Diff(map[string]string{"a": "two", "b": "three"}, reports(t, a)); d != "" {
		t.Errorf("reports (-want +got):\n%s", d)
	}
	registerWorker(t, a, Worker{ID: "w"})
	after := until(t, states, "the next change", func(State) bool { return true })
	if len(after.Workers) != 1 {
		t.Errorf("the watch woke for something else: %+v after %+v", after, before)
	}
	for name, put := range map[string]error{
		"no id": a.PutReport(soon(t), "", []byte("x")),
		"empty": a.PutReport(soon(t), "a", nil),
		"large": a.PutReport(soon(t), "a", make([]byte, MaxReportBytes+1)),
	} {
		if put == nil {
			t.Errorf("a report was taken: %s", name)
		}
	}
	putReport(t, a, "a", strings.Repeat("x", MaxReportBytes))
	if got := reports(t, b)["a"]; len(got) != MaxReportBytes {
		t.Errorf("the largest report was read as %d bytes", len(got))
	}
}

// What is in etcd already is not written again: each version would stay until compaction.
func TestReportIsNotWrittenTwice(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	revision := func() int64 {
		resp, err := c.etcd.Get(soon(t), c.keys.load("a"))
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatalf("%v, %v", resp, err)
		}
		return resp.Kvs[0].ModRevision
	}
	putReport(t, c, "a", "one")
	first := revision()
	putReport(t, c, "a", "one")
	if got := revision(); got != first {
		t.Errorf("the same report moved from revision %d to %d", first, got)
	}
	putReport(t, c, "a", "two")
	if got := revision(); got == first {
		t.Error("another report was not written")
	}
}

// The report of a coordinator that goes expires with its lease.
func TestReportExpires(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	a, b := connect(t, e.Endpoint(), time.Second), connect(t, e.Endpoint(), 0)
	putReport(t, a, "a", "one")
	gone := b.etcd.Watch(t.Context(), b.keys.load("a"), clientv3.WithFilterPut())
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, gone, "the report to expire", func(clientv3.WatchResponse) bool { return true })
	if got := reports(t, b); len(got) != 0 {
		t.Errorf("reports %v, want none", got)
	}
}

// After an outage longer than the lease, the same report is written again.
func TestReportAfterAnOutage(t *testing.T) {
	t.Parallel()
	first := startEtcd(t, EmbeddedConfig{})
	addr := first.Endpoint()
	c := connect(t, addr, time.Second)
	putReport(t, c, "a", "one")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.PutReport(ctx, "a", []byte("two")); err == nil {
		t.Error("a report was written without etcd")
	}
	closes(t, c.reporter.lease.ctx.Done(), "the lease to end")
	startEtcd(t, EmbeddedConfig{ClientAddr: addr})
	putReport(t, c, "a", "one")
	if got := reports(t, c); got["a"] != "one" {
		t.Errorf("reports %v, want the one of before", got)
	}
}

// What a stranger leaves there harms nobody, and takes no more memory than a report.
func TestReportsIgnoreWhatTheyCannotRead(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	putReport(t, c, "good", "one")
	for id, value := range map[string]string{
		"plain": "{}", "empty": "", "cut": compressed([]byte("report"))[:20],
		"bomb": compressed(bytes.Repeat([]byte{0}, 100*MaxReportBytes)),
	} {
		if _, err := c.etcd.Put(soon(t), c.keys.load(id), value); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(map[string]string{"good": "one"}, reports(t, c)); d != "" {
		t.Errorf("reports (-want +got):\n%s", d)
	}
}

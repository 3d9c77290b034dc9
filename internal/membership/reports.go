package membership

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// MaxReportBytes bounds a load report before it is compressed. etcd refuses requests over 1.5
// MiB; a report on 61 layers of 256 experts takes a fifth of this.
const MaxReportBytes = 1 << 20

// MaxReports bounds how many reports are read: coordinators are few.
const MaxReports = 256

// reporter is the client's own report in the registry. Its lock is held while etcd is asked:
// reports are written one after the other.
type reporter struct {
	mu    sync.Mutex
	lease *lease
	key   string
	data  []byte // what etcd has under key while lease lives
}

// PutReport replaces this coordinator's load report, which expires when the client no longer
// renews its lease. The same report again costs nothing while etcd has it; after an outage in
// which it expired, it is written anew. It tries until ctx ends.
//
// Reports lie outside what Watch follows: nobody wakes up for one.
func (c *Client) PutReport(ctx context.Context, coordinatorID string, data []byte) error {
	if err := checkID(coordinatorID); err != nil {
		return fmt.Errorf("put load report: %w", err)
	}
	if len(data) == 0 || len(data) > MaxReportBytes {
		return fmt.Errorf("put load report of %s: %d bytes, allowed are 1 to %d",
			coordinatorID, len(data), MaxReportBytes)
	}
	r := &c.reporter
	r.mu.Lock()
	defer r.mu.Unlock()
	key := c.keys.load(coordinatorID)
	if r.lease != nil && r.lease.ctx.Err() == nil && r.key == key && bytes.Equal(r.data, data) {
		return nil
	}
	if err := c.putReport(ctx, key, compressed(data)); err != nil {
		r.data = nil // etcd may have either
		return fmt.Errorf("put load report of %s: %w", coordinatorID, err)
	}
	r.key, r.data = key, bytes.Clone(data)
	return nil
}

// putReport writes under the reporter's lease, or under a new one if etcd no longer has that.
func (c *Client) putReport(ctx context.Context, key, value string) error {
	r := &c.reporter
	for {
		if r.lease == nil || r.lease.ctx.Err() != nil {
			l, err := c.grant(ctx)
			if err != nil {
				return err
			}
			r.lease = l
		}
		id := r.lease.id
		err := c.retry(ctx, func(ctx context.Context) error {
			_, err := c.etcd.Put(ctx, key, value, clientv3.WithLease(id))
			return err
		})
		if !leaseMissing(err) {
			return err
		}
		r.lease.release()
	}
}

// Reports reads the load reports of all coordinators that are here, by id. One that cannot be
// read is left out.
func (c *Client) Reports(ctx context.Context) (map[string][]byte, error) {
	folder := c.keys.load("")
	var resp *clientv3.GetResponse
	err := c.retry(ctx, func(ctx context.Context) (err error) {
		resp, err = c.etcd.Get(ctx, folder, clientv3.WithPrefix(), clientv3.WithLimit(MaxReports))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read load reports: %w", err)
	}
	reports := make(map[string][]byte, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		id := strings.TrimPrefix(string(kv.Key), folder)
		data, err := decompressed(kv.Value)
		if err != nil {
			c.log.Warn("ignoring a load report that cannot be read", "coordinator", id, "err", err)
			continue
		}
		reports[id] = data
	}
	return reports, nil
}

// compressed packs a report: every version of it stays in etcd until it is compacted.
func compressed(data []byte) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // into memory: neither fails
	_ = w.Close()
	return b.String()
}

// decompressed unpacks a report within its bound.
func decompressed(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxReportBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxReportBytes {
		return nil, fmt.Errorf("it has more than %d bytes", MaxReportBytes)
	}
	return data, nil
}

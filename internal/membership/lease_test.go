package membership

import (
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The holder of a lease lets go after the second renewal in a row failed to come, and before
// etcd, which counts from the last one, drops the lease.
func TestHolderLetsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 6 * time.Second
		renewals := make(chan *clientv3.LeaseKeepAliveResponse)
		done := make(chan time.Time, 1)
		go func() {
			watchRenewals(renewals, ttl)
			done <- time.Now()
		}()
		var last time.Time
		for range 5 {
			time.Sleep(ttl / 3) // of the bubble's clock
			renewals <- nil
			last = time.Now()
		}
		held := (<-done).Sub(last)
		if held <= 2*ttl/3 || held >= ttl {
			t.Errorf("held on for %v after the last renewal, want between %v and %v",
				held, 2*ttl/3, ttl)
		}

		go func() {
			watchRenewals(renewals, ttl)
			done <- time.Now()
		}()
		began := time.Now()
		close(renewals) // etcd says that the lease is gone
		if late := (<-done).Sub(began); late != 0 {
			t.Errorf("held on for %v to a lease that is gone", late)
		}
	})
}

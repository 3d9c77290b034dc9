package local

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/shard"
)

// pollEvery is how often the coordinator is asked whether it serves.
const pollEvery = 50 * time.Millisecond

// awaitReady shows the loading of the experts until the coordinator is ready.
func (cfg *Config) awaitReady(ctx context.Context, etcd string) error {
	if cfg.Progress != nil {
		cfg.Progress.Begin(cfg.ExpertBytes)
		defer cfg.Progress.End()
		client, err := membership.Connect(ctx, membership.Config{
			Endpoints: []string{etcd}, Cluster: clusterName, Log: cfg.Log,
		})
		if err != nil {
			return err
		}
		defer client.Close()
		watching, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { cfg.showLoading(client.Watch(watching)) })
	}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	// Neither a proxy nor a connection that is kept would tell of now.
	probe := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for {
		if answers(ctx, probe, "http://"+cfg.Listen+"/readyz") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("http://%s/readyz is not ready after %v", cfg.Listen, cfg.StartTimeout)
		case <-ticker.C:
		}
	}
}

func answers(ctx context.Context, probe *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := probe.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status matters
	return resp.StatusCode == http.StatusOK
}

// showLoading turns what workers report as ready into progress.
func (cfg *Config) showLoading(states <-chan membership.State) {
	shown := 0
	for state := range states {
		ready := 0
		for _, w := range state.Workers {
			for _, text := range w.Ready {
				if set, err := shard.ParseSet(text, shard.MaxExperts); err == nil {
					ready += set.Len()
				}
			}
		}
		if ready = min(ready, cfg.Experts); ready > shown {
			// The difference of two totals, so that roundings do not add up.
			cfg.Progress.Add(cfg.loadedBytes(ready) - cfg.loadedBytes(shown))
			shown = ready
		}
	}
}

// loadedBytes is the size of n of cfg.Experts, as near as is known.
func (cfg *Config) loadedBytes(n int) int64 {
	return int64(float64(cfg.ExpertBytes) * float64(n) / float64(cfg.Experts))
}

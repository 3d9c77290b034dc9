//go:build linux

package tests

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// replicaStreams is how many streams run while workers are killed and frozen.
const replicaStreams = 16

// TestReplicas kills one of three workers, and then freezes one for seconds,
// under 16 streams: no request may fail, and each must say what it says
// undisturbed. How long streams stood still is logged.
func TestReplicas(t *testing.T) {
	t.Parallel()
	m := startMachines(t, startEtcd(t, t.TempDir(), ""), "--min-workers", "3", "--no-last-resort")
	procs := map[string]*process{}
	for _, id := range []string{"w1", "w2", "w3"} {
		procs[id] = m.worker(t, id)
	}
	m.awaitStatus(t, "three workers", whole(3))
	l := startPacedLoad(t, m.api)
	l.phase(t, "undisturbed", 2)

	l.midway(t)
	kill(t, procs["w1"].cmd.Process.Pid)
	l.phase(t, "a worker killed", 2)
	m.worker(t, "w1")
	m.awaitStatus(t, "the third worker again", whole(3))
	l.phase(t, "it is back", 2)

	l.midway(t)
	procs["w2"].signal(t, syscall.SIGSTOP)
	frozen := time.NewTimer(5 * time.Second)
	defer frozen.Stop()
	l.phase(t, "a worker frozen", 2)
	<-frozen.C
	procs["w2"].signal(t, syscall.SIGCONT)
	m.awaitStatus(t, "the frozen worker again", whole(3))
	l.phase(t, "it goes on", 2)
	l.stop(t)
	_, stdout, _ := m.box.run(t, "status", "--url", m.url)
	mustContain(t, "status", stdout, "replicas   2 of each expert")
}

// pacedLoad is a load whose streams note how long they stand still.
type pacedLoad struct {
	api    api
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	done  [replicaStreams]int // streams ended, by client
	gap   time.Duration       // the longest of the phase
	gaps  int                 // that there have ever been
	wrong []string
}

func pacedBody(client int) string {
	return textBody(fmt.Sprintf(`"Story %d: once upon a time"`, client),
		`,"max_tokens":100,"ignore_eos":true,"stream":true`)
}

// startPacedLoad asks each prompt once alone, then all at once until stop.
func startPacedLoad(t *testing.T, a api) *pacedLoad {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l := &pacedLoad{api: a, cancel: cancel}
	var want [replicaStreams]string
	for i := range want {
		text, _, err := a.pacedStream(ctx, pacedBody(i), func(time.Duration) {})
		if err != nil {
			t.Fatal(err)
		}
		want[i] = text
	}
	for i := range want {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				text, status, err := a.pacedStream(ctx, pacedBody(i), l.note)
				if ctx.Err() == nil {
					l.ended(i, status, text, want[i], err)
				}
			}
		})
	}
	return l
}

func (l *pacedLoad) note(gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = max(l.gap, gap)
	l.gaps++
}

func (l *pacedLoad) ended(client, status int, text, want string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[client]++
	if err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("status %d, %v", status, err))
	} else if text != want {
		l.wrong = append(l.wrong, fmt.Sprintf("%q instead of %q", text, want))
	}
}

// midway waits until the streams that run now are well under way.
func (l *pacedLoad) midway(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	before := l.gaps
	l.mu.Unlock()
	until(t, "tokens", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.gaps > before+20*replicaStreams, fmt.Sprintf("%d tokens", l.gaps)
	})
}

// phase waits for some rounds and logs what they were like.
func (l *pacedLoad) phase(t *testing.T, what string, rounds int) {
	t.Helper()
	l.rounds(t, rounds)
	l.mu.Lock()
	gap := l.gap
	l.gap = 0
	l.mu.Unlock()
	t.Logf("%s: longest wait for a token %v", what, gap.Round(time.Millisecond))
	s, _ := l.api.status(t)
	t.Logf("  %d calls, %d sent again, %d hedged, %d ejections", s.Calls, s.Retries, s.Hedges, s.Ejections)
	for _, w := range s.Workers {
		t.Logf("  %s: %d calls, %d sent again, %d hedged", w.ID, w.Calls, w.Retries, w.Hedges)
	}
}

// rounds waits until every client has ended so many more streams.
func (l *pacedLoad) rounds(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	before := l.done
	l.mu.Unlock()
	until(t, "streams to end", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, now := range l.done {
			if now < before[i]+n {
				return false, fmt.Sprintf("ended %v, wrong %v", l.done, l.wrong)
			}
		}
		return true, ""
	})
}

func (l *pacedLoad) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if len(l.wrong) > 0 {
		t.Errorf("%d streams failed or said something else: %s", len(l.wrong), l.wrong[0])
	}
}

// pacedStream is stream, and tells how long it waited for each event.
func (a api) pacedStream(
	ctx context.Context, body string, note func(time.Duration),
) (text string, status int, err error) {
	last := time.Now()
	resp, err := a.do(ctx, http.MethodPost, "/v1/completions", body)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var all strings.Builder
	err = readStream(resp.Body, func(e event) {
		now := time.Now()
		note(now.Sub(last))
		last = now
		for _, c := range e.Choices {
			all.WriteString(c.Text)
		}
	})
	return all.String(), resp.StatusCode, err
}

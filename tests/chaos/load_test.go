//go:build linux

package chaos

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/conclave-serve/conclave/internal/demo"
)

// request is asked over and over; want is the hash of its answer.
type request struct {
	body string
	long bool // it has a prompt that takes steps of its own
	want [sha256.Size]byte
}

// requests are those of one client: short and long answers, one to a long prompt.
func requests(client int) []*request {
	body := func(prompt string, tokens int) string {
		return fmt.Sprintf(`{"model":%q,"temperature":0,"prompt":%q,"max_tokens":%d,`+
			`"ignore_eos":true,"logprobs":1,"stream":true}`, demo.Name, prompt, tokens)
	}
	var long strings.Builder
	for i := range 24 + 4*client {
		fmt.Fprintf(&long, "Sentence %d of client %d tells of rivers and towns. ", i, client)
	}
	return []*request{
		{body: body(fmt.Sprintf("Story %d: once upon a time", client), 60+10*(client%8))},
		{body: body(long.String(), 24), long: true},
		{body: body(fmt.Sprintf("The sum of %d and 25 is", client), 16)},
	}
}

// load is clients that ask one request after another.
type load struct {
	cluster *cluster
	streams []*stream
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	excused []atomic.Bool // by front: its requests may fail, for it is told to go

	mu       sync.Mutex
	prompted chan struct{} // closed when a long prompt is sent, and replaced
	gap      pauses        // the longest since take
	first    time.Duration // the longest wait for a first token
	wrong    []string
	ended    int
}

// pauses are the longest of the clients whose coordinator has the last resort, and of
// those that lean on replicas alone.
type pauses struct{ resort, alone time.Duration }

// stream is one client.
type stream struct {
	front    int
	requests []*request
	tokens   atomic.Int64 // that came, ever
}

// newLoad asks every request once, undisturbed, and notes the answers. The first
// front has eight clients, others three.
func newLoad(ctx context.Context, c *cluster) (*load, error) {
	l := &load{cluster: c, prompted: make(chan struct{}), excused: make([]atomic.Bool, len(c.fronts))}
	for front := range c.fronts {
		clients := 8
		if front > 0 {
			clients = 3
		}
		for range clients {
			s := &stream{front: front, requests: requests(len(l.streams))}
			for _, r := range s.requests {
				hash, err := l.ask(ctx, s, r, func(int, time.Duration, bool) {})
				if err != nil {
					return nil, fmt.Errorf("undisturbed: %w", err)
				}
				r.want = hash
			}
			l.streams = append(l.streams, s)
		}
	}
	return l, nil
}

// start lets the clients ask until stop.
func (l *load) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	for i, s := range l.streams {
		l.wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				l.once(ctx, s, s.requests[n%len(s.requests)])
			}
		})
	}
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// once asks a request and judges the answer.
func (l *load) once(ctx context.Context, s *stream, r *request) {
	excused := l.excused[s.front].Load()
	if r.long {
		l.mu.Lock()
		close(l.prompted)
		l.prompted = make(chan struct{})
		l.mu.Unlock()
	}
	hash, err := l.ask(ctx, s, r, l.note)
	excused = excused || l.excused[s.front].Load()
	if ctx.Err() != nil {
		return
	}
	if err != nil && excused {
		select { // its front is away
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended++
	switch {
	case err != nil:
		l.wrong = append(l.wrong, fmt.Sprintf("a request to %s failed: %v",
			l.cluster.fronts[s.front].name, err))
	case hash != r.want:
		l.wrong = append(l.wrong, fmt.Sprintf("an answer of %s differs from the undisturbed one: %.120s",
			l.cluster.fronts[s.front].name, r.body))
	}
}

// note notes how long a token took, or the first one of an answer.
func (l *load) note(front int, took time.Duration, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case first:
		l.first = max(l.first, took)
	case front == 0:
		l.gap.resort = max(l.gap.resort, took)
	default:
		l.gap.alone = max(l.gap.alone, took)
	}
}

// take returns what was noted since the last take, and how many requests have
// ended since the start.
func (l *load) take() (gap pauses, first time.Duration, ended int, wrong []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap, first, ended, wrong = l.gap, l.first, l.ended, l.wrong
	l.gap, l.first, l.wrong = pauses{}, 0, nil
	return gap, first, ended, wrong
}

// prompt returns a channel that is closed when a client sends a long prompt.
func (l *load) prompt() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.prompted
}

// progress returns a condition that holds when every client has got another token.
func (l *load) progress() func(context.Context) error {
	before := make([]int64, len(l.streams))
	for i, s := range l.streams {
		before[i] = s.tokens.Load()
	}
	return func(context.Context) error {
		for i, s := range l.streams {
			if s.tokens.Load() == before[i] {
				return fmt.Errorf("client %d of %s gets no tokens", i, l.cluster.fronts[s.front].name)
			}
		}
		return nil
	}
}

// piece is the part of a stream's event that is looked at.
type piece struct {
	Choices []struct {
		Text     string `json:"text"`
		Logprobs *struct {
			Tokens        []string      `json:"tokens"`
			TokenLogprobs []json.Number `json:"token_logprobs"`
		} `json:"logprobs"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// ask sends a request and returns the hash of text, tokens and their
// log-probabilities.
func (l *load) ask(
	ctx context.Context, s *stream, r *request, note func(front int, took time.Duration, first bool),
) (hash [sha256.Size]byte, err error) {
	c := l.cluster
	url := "http://" + c.net.listenAddr(c.fronts[s.front].host) + "/v1/completions"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(r.body))
	if err != nil {
		return hash, err
	}
	req.Header.Set("Content-Type", "application/json")
	last, first := time.Now(), true
	resp, err := c.clients[s.front].Do(req)
	if err != nil {
		return hash, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status says enough
		return hash, fmt.Errorf("%s: %s", resp.Status, body)
	}
	var text, tokens strings.Builder
	err = events(resp.Body, func(p piece) {
		for _, choice := range p.Choices {
			text.WriteString(choice.Text + choice.FinishReason)
			if choice.Logprobs == nil || len(choice.Logprobs.Tokens) == 0 {
				continue
			}
			fmt.Fprintf(&tokens, "%q %v\n", choice.Logprobs.Tokens, choice.Logprobs.TokenLogprobs)
			now := time.Now()
			note(s.front, now.Sub(last), first)
			last, first = now, false
			s.tokens.Add(1)
		}
	})
	return sha256.Sum256([]byte(text.String() + "\x00" + tokens.String())), err
}

// events reads a stream to its end, which is [DONE].
func events(r io.Reader, each func(piece)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // between events
		}
		if data == "[DONE]" {
			return nil
		}
		var p piece
		if err := json.Unmarshal([]byte(data), &p); err != nil {
			return fmt.Errorf("event %s: %w", data, err)
		}
		if p.Error != nil {
			return errors.New(p.Error.Message)
		}
		each(p)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the stream broke off")
}

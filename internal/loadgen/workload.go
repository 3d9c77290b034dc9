package loadgen

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// workload makes requests, each from its index and the seed alone.
type workload struct {
	cfg      *Config
	author   *author
	prefixes []string
	entries  []entry // of a file; empty: prompts are synthetic
}

// entry is a line of a file of prompts.
type entry struct {
	Prompt   *string         `json:"prompt"`
	Messages json.RawMessage `json:"messages"`
	Output   int             `json:"output_tokens"` // 0: drawn like those of synthetic requests
}

func newWorkload(cfg *Config, a *author, entries []entry) *workload {
	w := &workload{cfg: cfg, author: a, entries: entries}
	if cfg.Work.SharedPrefix > 0 {
		for i := range cfg.Work.Prefixes {
			r := stream(cfg.Work.Seed, ofPrefixes, i)
			w.prefixes = append(w.prefixes, a.text(r, cfg.Work.SharedPrefix))
		}
	}
	return w
}

// measured returns request i of those that count.
func (w *workload) measured(i int) *job {
	return w.job(i, w.cfg.Load.Warmup+i, stream(w.cfg.Work.Seed, ofRequests, i))
}

// warmup returns request i of those before: other prompts, lest what counts finds them cached.
func (w *workload) warmup(i int) *job {
	return w.job(i, i, stream(w.cfg.Work.Seed, ofWarmup, i))
}

func (w *workload) job(index, line int, r *rand.Rand) *job {
	c := &w.cfg.Work
	j := &job{index: index, seed: r.Int32()}
	prompt, prefix := c.Prompt.sample(r), 0
	j.output = c.Output.sample(r)
	if len(w.entries) > 0 {
		e := &w.entries[line%len(w.entries)]
		e.into(j)
		return j
	}
	text := opener
	if len(w.prefixes) > 0 {
		prefix = c.SharedPrefix
		text += w.prefixes[r.IntN(len(w.prefixes))]
	}
	j.prompt = text + w.author.text(r, max(prompt-w.author.overhead, 1))
	j.wanted = prefix + prompt
	return j
}

// into gives a request what the line has.
func (e *entry) into(j *job) {
	if e.Prompt != nil {
		j.prompt = *e.Prompt
	}
	j.messages = e.Messages
	if e.Output > 0 {
		j.output = e.Output
	}
}

// Limits of a file of prompts.
const (
	maxLine    = 16 << 20
	maxEntries = maxRequests
)

// readEntries reads a file of prompts: on each line an object with "prompt", a text, or
// "messages", a conversation, and if it likes "output_tokens".
func readEntries(path string, endpoint Endpoint) ([]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := parseEntries(f, endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries, nil
}

func parseEntries(r io.Reader, endpoint Endpoint) ([]entry, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var entries []entry
	number := 0
	for lines.Scan() {
		number++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		e, err := parseEntry(lines.Bytes(), endpoint)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if entries = append(entries, e); len(entries) > maxEntries {
			return nil, fmt.Errorf("more than %d prompts", maxEntries)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if len(entries) == 0 {
		return nil, errors.New("no prompts")
	}
	return entries, nil
}

func parseEntry(line []byte, endpoint Endpoint) (e entry, err error) {
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	if string(e.Messages) == "null" {
		e.Messages = nil
	}
	switch {
	case e.Output < 0 || e.Output > maxLength:
		return e, fmt.Errorf("output_tokens is %d: want 0 to %d", e.Output, maxLength)
	case (e.Prompt == nil) == (e.Messages == nil):
		return e, errors.New(`want either "prompt" or "messages"`)
	case e.Messages != nil && e.Messages[0] != '[':
		return e, errors.New(`"messages" is no list`)
	case e.Messages != nil && endpoint == Completions:
		return e, errors.New(`"messages" are for the chat endpoint`)
	}
	return e, nil
}

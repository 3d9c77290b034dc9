package loadgen

import (
	"encoding/json"
	"fmt"
)

// job is one request.
type job struct {
	index    int
	prompt   string
	messages json.RawMessage // instead of a prompt, in a file of prompts
	wanted   int             // tokens of the prompt that were aimed at; 0: as the file has it
	output   int             // tokens of the answer at most, or exactly with IgnoreEOS
	seed     int32
}

// optional are fields that not every server takes, and that the load can do without.
type optional struct{ usage, minTokens bool }

// body encodes a request. A field of the extra body that is null takes the field out.
func (t *target) body(j *job) ([]byte, error) {
	fields := map[string]any{"model": t.model, "stream": true, "max_tokens": j.output}
	switch {
	case t.cfg.Endpoint == Completions:
		fields["prompt"] = j.prompt
	case j.messages != nil:
		fields["messages"] = j.messages
	default:
		fields["messages"] = []map[string]string{{"role": "user", "content": j.prompt}}
	}
	if t.takes.usage {
		fields["stream_options"] = map[string]bool{"include_usage": true}
	}
	b := &t.cfg.Body
	if b.IgnoreEOS {
		fields["ignore_eos"] = true
		if t.takes.minTokens {
			fields["min_tokens"] = j.output
		}
	}
	if b.Temperature != nil {
		fields["temperature"] = *b.Temperature
	}
	if b.SendSeed {
		fields["seed"] = j.seed
	}
	for name, value := range b.Extra {
		if string(value) == "null" {
			delete(fields, name)
			continue
		}
		fields[name] = value
	}
	encoded, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode request %d: %w", j.index, err)
	}
	return encoded, nil
}

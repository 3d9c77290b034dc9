package loadgen

import "fmt"

// notes says what is not as the configuration has it, or may mislead.
func (r *Report) notes(t *target) []string {
	notes := []string{}
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if r.Interrupted {
		add("interrupted: the figures are of what had finished")
	}
	if r.Load.Requests == 0 && r.Requests.Sent == maxRequests {
		add("it ended before its time: %d requests are the most", maxRequests)
	}
	if events := r.Requests.Finished - r.Tokens.ByServer; events > 0 {
		add("the server gave no token counts with %d of %d requests: their output tokens are events, "+
			"their prompt tokens unknown", events, r.Requests.Finished)
	}
	if !t.takes.usage {
		add("the server takes no stream_options.include_usage: it was not sent")
	}
	if t.cfg.Body.IgnoreEOS && !t.takes.minTokens {
		add("the server takes no min_tokens: ignore_eos was sent without")
	}
	if n := r.shortAnswers(); n > 0 && t.cfg.Body.IgnoreEOS {
		add("%d of %d answers are shorter than asked for, in spite of ignore_eos", n, r.Requests.Finished)
	}
	if n := r.missedPrompts(); n > 0 {
		add("%d of %d prompts have another length than was aimed at, by the server's count",
			n, r.Requests.Finished)
	}
	return notes
}

func (r *Report) shortAnswers() (n int) {
	for i := range r.Records {
		k := &r.Records[i]
		if k.Finished() && k.Counted && k.OutputTokens < k.WantedOutput {
			n++
		}
	}
	return n
}

func (r *Report) missedPrompts() (n int) {
	for i := range r.Records {
		k := &r.Records[i]
		if k.Finished() && k.Counted && k.Wanted > 0 && k.PromptTokens != k.Wanted {
			n++
		}
	}
	return n
}

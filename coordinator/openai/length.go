package openai

import "math"

// readMaxTokens reads the bound on generated tokens from the first of names
// that is there.
func readMaxTokens(f *fields, p *params, low int64, names ...string) {
	for _, name := range names {
		if n, ok := f.integer(name, low, math.MaxInt32); ok {
			p.maxTokens = int(n)
			return
		}
	}
}

// fit checks that a prompt of n tokens and what may follow it fit the model's
// context, and returns the number of tokens that may follow. param names the
// field that holds the prompt.
func (s *Server) fit(p *params, n int, param string) (int, *apiError) {
	room, err := s.room(p, n, param)
	if err == nil && p.minTokens > room {
		return 0, invalid("min_tokens", "Invalid value for 'min_tokens': must be at most the %d "+
			"tokens that the answer may have, got %d.", room, p.minTokens)
	}
	return room, err
}

// room is fit without regard to the least number of tokens.
func (s *Server) room(p *params, n int, param string) (int, *apiError) {
	limit := s.cfg.Engine.Context()
	switch {
	case n == 0:
		return 0, invalid(param, "Invalid '%s': the prompt is empty.", param)
	case n > limit || n == limit && p.maxTokens != 0:
		return 0, tooLong(param, "This model's maximum context length is %d tokens, but the "+
			"prompt has %d tokens and leaves no room for an answer. Shorten the prompt.", limit, n)
	case p.maxTokens < 0 && p.fallback > 0:
		return min(p.fallback, limit-n), nil
	case p.maxTokens < 0:
		return limit - n, nil
	case p.maxTokens > limit-n:
		return 0, tooLong(param, "This model's maximum context length is %d tokens, but %d were "+
			"requested (%d in the prompt, %d for the completion). Shorten the prompt or the "+
			"completion.", limit, n+p.maxTokens, n, p.maxTokens)
	}
	return p.maxTokens, nil
}

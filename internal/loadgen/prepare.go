package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// prepare finds out before any load that the server answers, takes the key, has the model and
// takes requests as they will be, and returns an author who knows how long its prompts are.
func (t *target) prepare(ctx context.Context, first *job) (*author, error) {
	listed, err := t.chooseModel(ctx)
	if err != nil {
		return nil, err
	}
	if first != nil {
		_, err := t.probe(ctx, *first)
		return nil, t.explain(err, listed)
	}
	a := &author{words: wordList(), perWord: tokensPerWord}
	if costs := prices(ctx, t, a.words); costs != nil {
		a.price(costs)
	}
	return a, t.explain(t.measure(ctx, a), listed)
}

// tokensPerWord is what vocabularies of a hundred thousand tokens need for a common word; it is
// only used with servers that tell nothing about tokens.
const tokensPerWord = 1.05

// probeTokens is the length of the longer of the texts with which an author is measured.
const probeTokens = 64

// measure asks for one token to a short and to a longer text. The server's counts tell what stands
// around the words of every prompt, and, if words have no known costs, what they cost.
func (t *target) measure(ctx context.Context, a *author) error {
	random := stream(t.cfg.Work.Seed, ofProbes, 0)
	texts := []string{a.text(random, 1), a.text(random, probeTokens)}
	counts := make([]int, len(texts))
	for i, text := range texts {
		var err error
		if counts[i], err = t.probe(ctx, job{prompt: opener + text}); err != nil {
			return err
		}
	}
	short, long := len(strings.Fields(texts[0])), len(strings.Fields(texts[1]))
	switch {
	case counts[0] == 0 || counts[1] <= counts[0]: // it does not count
	case a.costs != nil:
		a.overhead = max(counts[1]-a.cost(texts[1]), 0)
	case long > short:
		a.perWord = max(float64(counts[1]-counts[0])/float64(long-short), 0.1)
		a.overhead = max(counts[0]-int(a.perWord*float64(short)), 0)
	}
	return nil
}

// chooseModel takes the first model that the server lists if none is given, and returns the list.
// A server without a list is fine if the model is given.
func (t *target) chooseModel(ctx context.Context) ([]string, error) {
	listed, err := t.models(ctx)
	var refused *refusal
	if t.model != "" && errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, t.explain(fmt.Errorf("ask for its models: %w", err), nil)
	}
	if t.model == "" && len(listed) == 0 {
		return nil, fmt.Errorf("%s lists no models: give the name of one", t.root)
	}
	if t.model == "" {
		t.model = listed[0]
	}
	return listed, nil
}

// probe sends a request for one token and returns the tokens of its prompt. Where the server
// refuses a field that the load can do without, it is left out from then on.
func (t *target) probe(ctx context.Context, j job) (int, error) {
	j.output = 1
	for {
		body, err := t.body(&j)
		if err != nil {
			return 0, err
		}
		var r Record
		t.exchange(ctx, body, &r)
		switch {
		case r.Gone:
			return 0, ctx.Err()
		case r.Failure == nil:
			return r.PromptTokens, nil
		case !t.leaveOut(r.Failure):
			return 0, &probeError{r.Failure}
		}
	}
}

// leaveOut gives up an optional field that a refusal names, and says whether there was one.
func (t *target) leaveOut(f *Failure) bool {
	if !slices.Contains([]string{"http 400", "http 422"}, f.Kind) {
		return false
	}
	switch {
	case t.takes.usage && (strings.Contains(f.Message, "stream_options") ||
		strings.Contains(f.Message, "include_usage")):
		t.takes.usage = false
	case t.takes.minTokens && strings.Contains(f.Message, "min_tokens"):
		t.takes.minTokens = false
	default:
		return false
	}
	return true
}

// probeError is a failure of the request that is sent before the load.
type probeError struct{ *Failure }

func (e *probeError) Error() string {
	return fmt.Sprintf("ask for one token: %s: %s", e.Kind, e.Message)
}

// explain adds the server's address to an error, and what to do about it.
func (t *target) explain(err error, listed []string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	status := ""
	var refused *refusal
	var probed *probeError
	var unreachable *url.Error
	switch {
	case errors.As(err, &refused):
		status = fmt.Sprintf("http %d", refused.status)
	case errors.As(err, &probed):
		status = probed.Kind
	case errors.As(err, &unreachable):
		status = failConnection
	}
	advice := map[string]string{
		"http 401":     "give its key by --api-key",
		"http 403":     "give a key that it takes by --api-key",
		failConnection: "is it running?",
	}[status]
	if status == "http 404" && probed != nil && len(listed) > 0 {
		advice = "it lists " + strings.Join(listed, ", ")
	}
	if advice == "" {
		return fmt.Errorf("%s: %w", t.root, err)
	}
	return fmt.Errorf("%s: %w; %s", t.root, err, advice)
}

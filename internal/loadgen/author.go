package loadgen

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
)

// author writes texts of a wanted number of tokens, out of common words. It knows what each word
// costs if the server has told; else it reckons with an average.
type author struct {
	words    []string
	costs    []int   // tokens of each word with the space before it; nil: not known
	perWord  float64 // on average
	overhead int     // tokens around the words of a prompt: of the opener, the chat template

	// reachable[n] says whether words of exactly n tokens can be put together.
	reachable [256]bool
}

// opener begins every synthetic prompt, so that each word after it has a space before it.
const opener = "Read:"

// text writes words worth a number of tokens, each with a space before it.
func (a *author) text(r *rand.Rand, tokens int) string {
	var b strings.Builder
	b.Grow(5 * max(tokens, 1))
	if a.costs == nil {
		for range max(int(math.Round(float64(tokens)/a.perWord)), 1) {
			b.WriteString(" " + a.words[r.IntN(len(a.words))])
		}
		return b.String()
	}
	for tokens > 0 {
		i, ok := a.choose(r, tokens)
		if !ok {
			break
		}
		b.WriteString(" " + a.words[i])
		tokens -= a.costs[i]
	}
	return b.String()
}

// choose picks a word after which the tokens that are left can still be reached exactly; false if
// there is none.
func (a *author) choose(r *rand.Rand, tokens int) (int, bool) {
	first := r.IntN(len(a.words))
	for k := range a.words {
		i := (first + k) % len(a.words)
		left := tokens - a.costs[i]
		if left >= len(a.reachable) || left >= 0 && a.reachable[left] {
			return i, true
		}
	}
	return 0, false
}

// price tells the author what words cost.
func (a *author) price(costs []int) {
	a.costs = costs
	a.reachable[0] = true
	sum := 0
	for n := range a.reachable {
		for _, c := range costs {
			a.reachable[n] = a.reachable[n] || c <= n && a.reachable[n-c]
		}
	}
	for _, c := range costs {
		sum += c
	}
	a.perWord = float64(sum) / float64(len(costs))
}

// cost is what a text that the author wrote costs, by the prices that it knows.
func (a *author) cost(text string) int {
	price := make(map[string]int, len(a.words))
	for i, w := range a.words {
		price[w] = a.costs[i]
	}
	sum := 0
	for _, w := range strings.Fields(text) {
		sum += price[w]
	}
	return sum
}

// maxAskers is how many questions for prices are under way at once.
const maxAskers = 16

// prices asks the server what each word costs with the space before it; nil if it does not say.
func prices(ctx context.Context, t *target, words []string) []int {
	const before = "a" // a tokenizer may treat the beginning of a text as something special
	base, err := t.countTokens(ctx, before)
	if err != nil {
		return nil
	}
	costs := make([]int, len(words))
	errs := make([]error, maxAskers)
	var askers sync.WaitGroup
	for k := range maxAskers {
		askers.Go(func() {
			for i := k; i < len(words) && errs[k] == nil; i += maxAskers {
				costs[i], errs[k] = t.countTokens(ctx, before+" "+words[i])
				costs[i] -= base
			}
		})
	}
	askers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil
		}
	}
	for _, c := range costs {
		if c < 1 {
			return nil // what it counts are not tokens of a text
		}
	}
	return costs
}

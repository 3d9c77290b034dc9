package grammar

import (
	"sync"
	"sync/atomic"
)

// maxStateBytes is how much of a grammar's states is kept; beyond it they are forgotten and made
// again as they are needed. A schema of tens of properties takes one or two megabytes.
const maxStateBytes = 16 << 20

// Grammar is a compiled grammar for one vocabulary. It is safe for concurrent use.
type Grammar struct {
	vocab   *Vocabulary
	program *program
	least   []int32
	class   *[256]uint8
	classes int
	size    atomic.Int64

	mu       sync.Mutex
	states   *states
	search   search
	runBytes int // of the vocabulary's runs that it was the first to use
}

// Compile makes a grammar of the texts of x. It fails if x is too large (ErrTooLarge), if nothing
// matches it (ErrNothing), or if it is left-recursive.
func Compile(x *Expr, v *Vocabulary) (*Grammar, error) {
	p, err := translate(x, v)
	if err != nil {
		return nil, err
	}
	g := &Grammar{vocab: v, program: p, least: p.measure(v), runBytes: p.runBytes}
	if err := p.check(g.least); err != nil {
		return nil, err
	}
	g.class, g.classes = p.byteClasses()
	g.forget()
	return g, nil
}

// forget starts the exploration of states anew.
func (g *Grammar) forget() {
	if old := g.states; old != nil {
		// Matchers that still are in old states need no more than their configurations.
		old.ids, old.next, old.cost, old.frameIDs, old.visited = nil, nil, nil, nil, nil
		for _, x := range old.list[initial:] {
			x.mask = nil
		}
	}
	g.states = newStates(g.program, g.least, g.class, g.classes)
	g.account()
}

// account makes the size of the grammar visible.
func (g *Grammar) account() {
	g.size.Store(int64(100*len(g.program.code) + g.states.bytes + g.runBytes))
}

// Bytes returns about how much memory the grammar takes now.
func (g *Grammar) Bytes() int { return int(g.size.Load()) }

// Shortest returns how many tokens are enough for the shortest text.
func (g *Grammar) Shortest() int { return int(g.least[g.program.start]) }

// NewMatcher returns a matcher at the beginning of a text.
func (g *Grammar) NewMatcher() *Matcher {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Matcher{g: g, states: g.states, at: initial, budget: maxSearch}
}

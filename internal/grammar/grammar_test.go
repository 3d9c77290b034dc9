package grammar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

var patterns = []string{
	``, `a`, `abc`, `a|b|cd`, `a*`, `a+b?`, `(ab)*c`, `(a|b){2,3}`, `a{3}`, `a{2,}`, `[^abc]`, `[a-c]+`,
	`\d+`, `.`, `.*a.*`, `a.c`, `(a|bc)+d`, `é+`, `[é-ü]x`, `日本`, `\p{L}+`, `\P{L}`, `(?i)aBc`, `(?s).{0,3}`,
	`(a?b?){0,3}`, `(a|ab)(c|bcd)`, `(a*)*b`, `((a|b)?c){1,2}`, `a{0}b`, `(ab|ac|ad){2}`, `[^"]{0,40}`,
	`(.{1,2}b){1,3}`, `(a{0,3}b){2,}`, `x(ab?|b)*y`, `\w{2,5}@\w+`, `([a-z]{0,6} ?){3}`,
}

var alphabet = []rune("aabbccdxyAB1 _-.\n@,2é日αü")

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(8) {
		b.WriteRune(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func TestRegexMatchesLikeGo(t *testing.T) {
	v := vocabulary(256, 0, 1)
	r := rand.New(rand.NewPCG(1, 2))
	for _, pattern := range patterns {
		x, err := Regex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		g := compile(t, x, v)
		want := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
		for range 1000 {
			text := randomText(r)
			if got := matches(g, text); got != want.MatchString(text) {
				t.Fatalf("%q takes %q: %t, Go says otherwise", pattern, text, got)
			}
		}
	}
}

// samples returns expressions of many kinds; tokens 997 to 999 of a vocabulary of 1000 are control
// tokens.
func samples(t *testing.T) map[string]*Expr {
	t.Helper()
	out := map[string]*Expr{}
	for _, pattern := range patterns {
		x, err := Regex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out[pattern] = x
	}
	list := NewRule("list")
	word := Repeat(Chars(regular.Of('a', 'z')), 1, 5)
	list.Set(Seq(Literal("["), Optional(Seq(Choice(word, list.Ref()),
		Repeat(Seq(Literal(","), Choice(word, list.Ref())), 0, Unbounded))), Literal("]")))
	out["nested lists"] = list.Ref()
	out["call"] = Repeat(Seq(Token(997), Literal("\nname: "), Choice(Literal("search"),
		Literal("send"), Literal("see")), Literal("\n"), Until("</a>"), Literal("</a>"), Token(998)),
		1, 3)
	sum := NewRule("sum")
	term := Choice(Repeat(Chars(regular.Of('0', '9')), 1, 3), Seq(Literal("("), sum.Ref(), Literal(")")))
	sum.Set(Seq(term, Optional(Seq(Literal("+"), sum.Ref()))))
	out["sums"] = sum.Ref()
	quoted := NewRule("quoted")
	quoted.Set(Seq(Literal(`"`), Repeat(Choice(Chars(regular.Of('"', '"', '\\', '\\', 0, 31).Not()),
		Seq(Literal(`\`), Chars(regular.Of('n', 'n', '"', '"')))), 2, 40), Literal(`"`)))
	out["quoted"] = Repeat(Seq(quoted.Ref(), Literal(", ")), 1, 3)
	out["ambiguous"] = Repeat(Choice(Repeat(Chars(regular.Any()), 0, Unbounded), Literal("ab"),
		Repeat(Literal("a"), 1, 3)), 0, 30)
	return out
}

// TestMaskIsWhatIsAccepted compares masks with their definition.
func TestMaskIsWhatIsAccepted(t *testing.T) {
	v := vocabulary(1000, 3, 2)
	r := rand.New(rand.NewPCG(3, 4))
	for name, x := range samples(t) {
		g := compile(t, x, v)
		for i := range 6 {
			budget := 60
			if i > 2 {
				budget = max(1, g.Shortest()) + r.IntN(6)
			}
			walk(t, g, r, budget, func(m *Matcher, mask []uint64, left int) {
				bounded := m.Shortest() <= left
				for id := range int32(v.Size()) {
					next := m.Clone()
					want := next.Accept(id) && (!bounded || next.Shortest() < left)
					if got := mask[id/64]>>(id%64)&1 != 0; got != want {
						t.Fatalf("%s: token %d %q, %d left: allowed %t, want %t", name, id, v.text(id),
							left, got, want)
					}
				}
			})
		}
	}
}

// TestClosesInTime walks with budgets from the least that is enough.
func TestClosesInTime(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for seed := range uint64(3) {
		v := vocabulary(1000, 3, seed)
		for name, x := range samples(t) {
			g := compile(t, x, v)
			for extra := range 12 {
				budget := g.Shortest() + extra
				tokens, complete := walk(t, g, r, budget, nil)
				if !complete {
					t.Fatalf("%s: %q is not complete after %d tokens", name, textOf(g, tokens), budget)
				}
			}
		}
	}
}

// TestForgets runs with states that are forgotten all the time: nothing may change.
func TestForgets(t *testing.T) {
	v := vocabulary(1000, 3, 2)
	for name, x := range samples(t) {
		g, h := compile(t, x, v), compile(t, x, v)
		r := rand.New(rand.NewPCG(7, 8))
		twin := h.NewMatcher()
		want := make([]uint64, v.Words())
		var said []int32
		walk(t, g, r, 80, func(m *Matcher, mask []uint64, left int) {
			twin.Mask(want, left)
			if !slices.Equal(mask, want) {
				t.Fatalf("%s: another mask after %v", name, said)
			}
			// the walk takes the token that the twin takes
			g.mu.Lock()
			g.forget()
			g.mu.Unlock()
			ids := allowed(want)
			if len(ids) == 0 {
				return // the text has to end here
			}
			choice := rand.New(rand.NewPCG(uint64(left), 9))
			token := ids[choice.IntN(len(ids))]
			clear(mask)
			mark64(mask, []int32{token})
			if !twin.Accept(token) {
				t.Fatalf("%s: token %d is refused", name, token)
			}
			said = append(said, token)
		})
	}
}

func TestUntil(t *testing.T) {
	v := vocabulary(256, 0, 1)
	r := rand.New(rand.NewPCG(9, 10))
	for _, stop := range []string{"</p>", "\n</p>", "aab", "b", "日a"} {
		g := compile(t, Until(stop), v)
		for range 3000 {
			var b strings.Builder
			for range r.IntN(12) {
				b.WriteString(string([]rune("</p>\naab日é")[r.IntN(9)]))
			}
			if text := b.String(); matches(g, text) == strings.Contains(text, stop) {
				t.Fatalf("text %q until %q: %t", text, stop, matches(g, text))
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	v := vocabulary(300, 3, 1)
	self := NewRule("self")
	self.Set(Seq(self.Ref(), Literal("a")))
	hidden := NewRule("hidden")
	hidden.Set(Choice(Seq(Optional(Literal("b")), hidden.Ref(), Literal("a")), Literal("c")))
	endless := NewRule("endless")
	endless.Set(Seq(Literal("a"), endless.Ref()))
	deep := Literal("a")
	for range 5000 {
		deep = Optional(Seq(Literal("("), deep, Literal(")")))
	}
	wide := make([]*Expr, 0, 300_000)
	for i := range cap(wide) {
		wide = append(wide, Literal(fmt.Sprint(i, i*7919%1_000_003)))
	}
	for name, c := range map[string]struct {
		x    *Expr
		want error
		text string
	}{
		"left recursion":   {x: Choice(self.Ref(), Literal("x")), text: "nothing"},
		"hidden recursion": {x: hidden.Ref(), text: "the rule hidden begins with itself"},
		"endless":          {x: endless.Ref(), want: ErrNothing},
		"empty choice":     {x: Choice(), want: ErrNothing},
		"unknown token":    {x: Token(300), want: ErrNothing},
		"deep":             {x: deep, want: ErrTooLarge},
		"wide":             {x: Choice(wide...), want: ErrTooLarge},
		"empty, counted":   {x: Repeat(Optional(Literal("a")), 0, 1000), want: ErrTooLarge},
	} {
		_, err := Compile(c.x, v)
		if name == "left recursion" {
			if err != nil {
				t.Errorf("%s: what cannot be said is left out, but: %v", name, err)
			}
			continue
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %v %q", name, err, c.want, c.text)
		}
	}
}

// TestLargeCounts: counts cost nothing.
func TestLargeCounts(t *testing.T) {
	v := vocabulary(1000, 0, 1)
	x, err := Regex(`(([a-z]{0,1000000} ){0,1000}x){0,1000000}`)
	if err != nil {
		t.Fatal(err)
	}
	g := compile(t, x, v)
	if !matches(g, "abc def x x"+strings.Repeat("y", 5000)+" x") || matches(g, "abc") {
		t.Error("a pattern with large counts matches something else")
	}
	if g.Bytes() > 16<<20 {
		t.Errorf("%d bytes", g.Bytes())
	}
}

// TestAmbiguity: a grammar with too many ways is still followed to its end.
func TestAmbiguity(t *testing.T) {
	v := vocabulary(1000, 0, 1)
	r := rand.New(rand.NewPCG(11, 12))
	for _, pattern := range []string{
		`((a|ab|b|ba|aba){0,25}c?){0,25}d`, `(.*a.{200})*`, `((.{0,9}b){0,9}a){0,9}`,
		`(([a-z]*[a-z]*)*[a-z]*){0,20}!`,
	} {
		x, err := Regex(pattern)
		if err != nil {
			t.Fatal(err)
		}
		g := compile(t, x, v)
		want := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
		for range 3 {
			tokens, complete := walk(t, g, r, g.Shortest()+40, nil)
			if text := textOf(g, tokens); !complete || !want.MatchString(text) {
				t.Fatalf("%q: %q, complete: %t", pattern, text, complete)
			}
		}
	}
}

// TestConcurrent walks one grammar from several goroutines, each the same text as alone.
func TestConcurrent(t *testing.T) {
	v := vocabulary(1000, 3, 2)
	for name, x := range samples(t) {
		g, h := compile(t, x, v), compile(t, x, v)
		var group sync.WaitGroup
		for seed := range uint64(4) {
			want, _ := walk(t, h, rand.New(rand.NewPCG(seed, 1)), 40, nil)
			group.Go(func() {
				got, _ := walk(t, g, rand.New(rand.NewPCG(seed, 1)), 40, nil)
				if !slices.Equal(got, want) {
					t.Errorf("%s: %v, alone %v", name, got, want)
				}
			})
		}
		group.Wait()
	}
}

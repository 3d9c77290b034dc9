package regular

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
)

// patterns covers the syntax; all are valid for Go, too, and mean the same there.
var patterns = []string{
	``, `a`, `abc`, `a|b|cd`, `a*`, `a+b?`, `(ab)*c`, `(a|b){2,3}`, `a{3}`, `a{2,}`, `[abc]`, `[^abc]`,
	`[a-c]+`, `[^a-c]+x`, `\d+`, `\D`, `\w+`, `\W`, `[\d_]+`, `[-a]`, `[a-]`, `[\]a]`, `.`, `.*a.*`,
	`a.c`, `(?:a|bc)+?d`, `(?P<x>a)b`, `(?<x>a)b`, `a\.b`, `\x41`, `\x{e9}`, `é+`, `[é-ü]`, `日本`, `\p{L}+`,
	`\p{Lu}a`, `\P{L}`, `\pN+`, `[\p{Greek}a]`, `(?i)aBc`, `(?i)[a-c]`, `(?s).`, `[[:alpha:]]+`,
	`[[:^digit:]]`, `^ab$`, `^a|b$`, `(^a|b)c`, `a(b$|c)`, `^$`, `(a?b?){0,3}`, `(a|ab)(c|bcd)`,
	`(a*)*b`, `((a|b)?c){1,2}`, `a{0}b`, `x{,2}`, `a{`, `a{b}`, `\{a\}`, `[.]`, `\n`, `a(|b)c`, `()`,
}

// alphabet is what random texts are made of.
var alphabet = []rune("aabbccdxAB1 _-.\n{},2é日αü")

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(7) {
		b.WriteRune(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

func TestMatchesLikeGo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, pattern := range patterns {
		n, err := Parse(pattern, Plain)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		full, search := automaton(t, n, (*Node).Full), automaton(t, n, (*Node).Search)
		whole := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
		part := regexp.MustCompile(pattern)
		for range 2000 {
			text := randomText(r)
			if got, want := full.Match(text), whole.MatchString(text); got != want {
				t.Fatalf("%q matches the whole of %q: %t, Go says %t", pattern, text, got, want)
			}
			if got, want := search.Match(text), part.MatchString(text); got != want {
				t.Fatalf("%q is found in %q: %t, Go says %t", pattern, text, got, want)
			}
		}
	}
}

func automaton(t *testing.T, n *Node, form func(*Node) (*Node, error)) *DFA {
	t.Helper()
	whole, err := form(n)
	if err != nil {
		t.Fatal(err)
	}
	d, err := whole.DFA()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestMatchesLikeECMA compares with regexp2, which has an ECMAScript mode.
func TestMatchesLikeECMA(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, pattern := range []string{
		`\d+`, `\w+`, `^[^]]$`, `\s`, `\u0061+`, `[\u0061-c]`, `^\cA$`, `a[^b]c`, `^.$`, `\/a`, `^[\w.-]+$`,
	} {
		n, err := Parse(pattern, ECMA)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		d := automaton(t, n, (*Node).Search)
		want := regexp2.MustCompile(pattern, regexp2.ECMAScript)
		for range 2000 {
			text := randomText(r)
			found, err := want.MatchString(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Match(text); got != found {
				t.Fatalf("%q is found in %q: %t, regexp2 says %t", pattern, text, got, found)
			}
		}
	}
}

func TestRefusesByName(t *testing.T) {
	for pattern, want := range map[string]string{
		`(?=a)`: "lookahead", `(?!a)`: "negative lookahead", `(?<=a)b`: "lookbehind",
		`(?<!a)b`: "negative lookbehind", `(a)\1`: `backreference \1`, `(?P<n>a)(?P=n)`: "backreference",
		`\bword`: `word boundary \b`, `a*+`: "possessive", `(?>a)`: "atomic group", `(?m)a`: "flags",
		`(?i:a)`: "flags", `a**`: "quantifier follows another", `*a`: "nothing before", `(a`: "missing )",
		`a)`: "unmatched )", `[a`: "missing ]", `a{3,2}`: "out of order", `[b-a]`: "out of order",
		`\q`: `escape \q`, `\p{Nope}`: "Unicode property", `\x{110000}`: "not the number of a character",
		`\ud800`: "surrogate", `a{2000000000}`: "repetition of more than", `\`: `trailing \`,
		`(^a)*`: "anchor inside a repetition", "\xff": "not UTF-8", `[[.a.]]`: "POSIX",
	} {
		n, err := Parse(pattern, Plain)
		if err == nil {
			_, err = n.Full()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", pattern, err, want)
		}
	}
}

func TestBoundsItself(t *testing.T) {
	deep := strings.Repeat("(", 300) + strings.Repeat(")", 300)
	if _, err := Parse(deep, Plain); err == nil {
		t.Error("groups 300 deep are read")
	}
	for _, pattern := range []string{
		`a{1000000000}`, `((a{1000}){1000}){1000}`, `(a?){100000}`, `.*a.{20}b.*a.{20}`, `(a|b|c){9000}`,
	} {
		n, err := Parse(pattern, Plain)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if _, err := n.DFA(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%q: error %v, want %v", pattern, err, ErrTooLarge)
		}
	}
}

func TestAlgebra(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		p, q := patterns[r.IntN(len(patterns))], patterns[r.IntN(len(patterns))]
		a, err := Parse(p, Plain)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Parse(q, Plain)
		if err != nil {
			t.Fatal(err)
		}
		x, y := automaton(t, a, (*Node).Full), automaton(t, b, (*Node).Search)
		both, err := x.And(y)
		if err != nil {
			t.Fatal(err)
		}
		only, err := x.Minus(y)
		if err != nil {
			t.Fatal(err)
		}
		short, err := x.And(Length(1, 3))
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			text := randomText(r)
			n := len([]rune(text))
			inX, inY := x.Match(text), y.Match(text)
			if both.Match(text) != (inX && inY) || only.Match(text) != (inX && !inY) ||
				short.Match(text) != (inX && 1 <= n && n <= 3) {
				t.Fatalf("%q and %q on %q: %t %t", p, q, text, inX, inY)
			}
		}
	}
}

func TestSets(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	random := func() Set {
		var pairs []rune
		for range r.IntN(5) {
			lo := rune(r.IntN(60))
			pairs = append(pairs, lo, lo+rune(r.IntN(9)))
		}
		return Of(pairs...)
	}
	for range 2000 {
		a, b := random(), random()
		or, and, minus, not := a.Or(b), a.And(b), a.Minus(b), a.Not()
		size := 0
		for c := rune(0); c < 80; c++ {
			x, y := a.Has(c), b.Has(c)
			if or.Has(c) != (x || y) || and.Has(c) != (x && y) || minus.Has(c) != (x && !y) ||
				not.Has(c) == x {
				t.Fatalf("%v and %v at %d", a, b, c)
			}
			if x {
				size++
			}
		}
		if a.Size() != size {
			t.Fatalf("%v has %d characters, Size says %d", a, size, a.Size())
		}
	}
	if Any().Has(0xd800) || !Any().Has(0x10ffff) || !Any().Not().Empty() {
		t.Error("all characters are not all characters")
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range patterns {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		for _, syntax := range []Syntax{Plain, ECMA} {
			n, err := Parse(pattern, syntax)
			if err != nil {
				continue
			}
			if full, err := n.Full(); err == nil {
				_, _ = full.DFA()
			}
			if found, err := n.Search(); err == nil {
				_, _ = found.DFA()
			}
		}
	})
}

package grammar

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// words makes a vocabulary: every byte, and pieces of texts as they come in JSON, code and prose.
func words(n int, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([][]byte, 0, n)
	for b := range min(256, n) {
		out = append(out, []byte{byte(b)})
	}
	syllables := strings.Fields("a ab al an ar be ca co con de di en er es ex for ge ha he i in ing " +
		"is it ja ka la le li lo ma me mi mo na ne no nu o on or ou pa pe pro qu ra re ri ro sa se si " +
		"so st ta te th ti to tr u un ur us ve vi wa we y ya zu")
	marks := []string{
		`"`, `":`, `": "`, `","`, `",`, `"}`, `"]`, `{"`, `[{"`, `\"`, `\n`, `\u`, ` = `, `("`, `);`, "\n", "\n\n",
		"\n  ", "\n    ", `</`, `>`, ` {`, `},`, `,"`, `.`, `, `, `: `, `\\`, "\t", `=""`, `'`, `--`,
	}
	scripts := [][2]rune{{0x4e00, 0x9fff}, {0x400, 0x44f}, {0xac00, 0xd7a3}, {0x600, 0x64a}, {0xe0, 0xff}}
	seen := map[string]bool{}
	for len(out) < n {
		var b strings.Builder
		switch k := r.IntN(100); {
		case k < 62:
			if r.IntN(2) == 0 {
				b.WriteByte(' ')
			}
			for range 1 + r.IntN(4) {
				b.WriteString(syllables[r.IntN(len(syllables))])
			}
			if r.IntN(4) == 0 {
				s := b.String()
				b.Reset()
				b.WriteString(strings.ToUpper(s[:1]) + s[1:])
			}
		case k < 88:
			script := scripts[r.IntN(len(scripts))]
			for range 1 + r.IntN(4) {
				b.WriteRune(script[0] + r.Int32N(script[1]-script[0]))
			}
			if r.IntN(20) == 0 { // a part of a character
				s := b.String()
				b.Reset()
				b.WriteString(s[r.IntN(len(s)):])
			}
		case k < 96:
			b.WriteString(marks[r.IntN(len(marks))])
			if r.IntN(2) == 0 {
				b.WriteString(syllables[r.IntN(len(syllables))])
			}
			if r.IntN(3) == 0 {
				b.WriteString(marks[r.IntN(len(marks))])
			}
		default:
			fmt.Fprintf(&b, "%d", r.IntN(1000))
		}
		if s := b.String(); s != "" && (!seen[s] || n < 5000) {
			seen[s] = true
			out = append(out, []byte(s))
		}
	}
	return out
}

// vocabulary makes one of n tokens; the last few are control tokens.
func vocabulary(n, control int, seed uint64) *Vocabulary {
	list := words(n-control, seed)
	return NewVocabulary(n, func(id int32) []byte {
		if int(id) < len(list) {
			return list[id]
		}
		return nil
	})
}

func compile(t testing.TB, x *Expr, v *Vocabulary) *Grammar {
	t.Helper()
	g, err := Compile(x, v)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// matches reports whether g takes text as a whole, byte by byte.
func matches(g *Grammar, text string) bool {
	m := g.NewMatcher()
	for i := range len(text) {
		if !m.Accept(g.vocab.single[text[i]]) {
			return false
		}
	}
	return m.MayEnd()
}

// allowed returns the tokens of a mask.
func allowed(mask []uint64) []int32 {
	var ids []int32
	for i, word := range mask {
		for b := range 64 {
			if word>>b&1 != 0 {
				ids = append(ids, int32(64*i+b))
			}
		}
	}
	return ids
}

// walk writes a random text of at most budget tokens and returns it and whether it is complete.
// check, if set, is called with every mask.
func walk(t testing.TB, g *Grammar, r *rand.Rand, budget int, check func(m *Matcher, mask []uint64, left int)) (
	[]int32, bool,
) {
	t.Helper()
	m := g.NewMatcher()
	mask := make([]uint64, g.vocab.Words())
	var out []int32
	for left := budget; left > 0; left-- {
		if m.MustEnd() || m.MayEnd() && r.IntN(8) == 0 {
			break
		}
		m.Mask(mask, left)
		if check != nil {
			check(m, mask, left)
		}
		ids := allowed(mask)
		if len(ids) == 0 {
			if m.MayEnd() {
				break
			}
			t.Fatalf("nothing may follow %v, %d tokens left", out, left)
		}
		token := ids[r.IntN(len(ids))]
		if !m.Accept(token) {
			t.Fatalf("the mask allows token %d after %v, which is refused", token, out)
		}
		out = append(out, token)
	}
	return out, m.MayEnd()
}

func textOf(g *Grammar, tokens []int32) string {
	var b strings.Builder
	for _, id := range tokens {
		if text := g.vocab.text(id); text != nil {
			b.Write(text)
		} else {
			fmt.Fprintf(&b, "<%d>", id)
		}
	}
	return b.String()
}

package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func spellings(t testing.TB, tok *Tokenizer, ids []int32) string {
	t.Helper()
	var out []string
	for _, id := range ids {
		s, ok := tok.Token(id)
		if !ok {
			t.Fatalf("id %d has no token", id)
		}
		if back, ok := tok.ID(s); !ok || back != id {
			t.Errorf("token %q of id %d has id %d", s, id, back)
		}
		out = append(out, s)
	}
	return strings.Join(out, "|")
}

func TestEncode(t *testing.T) {
	tok := english().parse(t)
	for _, c := range []struct{ text, marked, plain string }{
		{"", "", ""},
		{"hello the world", "hello|Ġthe|Ġworld", "hello|Ġthe|Ġworld"},
		{"the<|end|>in", "the|<|end|>|in", "the|<|||e|n|d|||>|in"},
		{"<think>", "<think>", "<|t|h|in|k|>"},
		{"e\u0301 \u00e9", "Ã©|Ġ|Ã©", "Ã©|Ġ|Ã©"},
		// A mark after an added token does not compose with it.
		{"<think>\u0301", "<think>|Ì|ģ", "<|t|h|in|k|>|Ì|ģ"},
		{"\uff5cuser\u2581", "\uff5cuser\u2581", "ï|½|ľ|u|s|er|â|ĸ|ģ"},
		{"a\xffb", "a|ï|¿|½|b", "a|ï|¿|½|b"},
		{"\xe4\xb8", "ï|¿|½", "ï|¿|½"},
	} {
		if got := spellings(t, tok, tok.Encode(c.text)); got != c.marked {
			t.Errorf("%q: got %s, want %s", c.text, got, c.marked)
		}
		if got := spellings(t, tok, tok.EncodePlain(c.text)); got != c.plain {
			t.Errorf("%q: plain: got %s, want %s", c.text, got, c.plain)
		}
	}
}

func TestAddedTokens(t *testing.T) {
	f := newFixture(nil)
	f.Normalizer = object{"type": "Sequence", "normalizers": []any{object{"type": "NFC"}}}
	f.add("<a>", false, false)
	f.add("<a", false, false)
	f.add("<ab>", false, false)
	f.add("<a><a><x", false, false)
	f.add("caf\u00e9", false, true)
	f.add("e\u0301!", false, true) // looked for as "\u00e9!"
	f.add("e\u0301?", false, false)
	tok := f.parse(t)
	for text, want := range map[string]string{
		"<a>":            "<a>",
		"<ab>":           "<ab>",
		"<abc":           "<a|b|c",
		"<<a":            "<|<a",
		"<a><a><x":       "<a><a><x",
		"<a><a><y":       "<a>|<a>|<|y",
		"<a><a><":        "<a>|<a>|<",
		"cafe\u0301":     "caf\u00e9",
		"caf\u00e9":      "caf\u00e9",
		"x<acafe\u0301y": "x|<a|caf\u00e9|y",
		"\u00e9!":        "e\u0301!",
		"e\u0301!":       "e\u0301!",
		"e\u0301?":       "e\u0301?",
		"\u00e9?":        "Ã|©|?", // not normalized: found only as written
	} {
		if got := spellings(t, tok, tok.Encode(text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestTokensAndBytes(t *testing.T) {
	tok := english().parse(t)
	for spelling, bytes := range map[string]string{
		"Ġworld": " world", "ĊĊ": "\n\n", "Ã": "\xc3", "<|end|>": "<|end|>",
		"\uff5cuser\u2581": "\uff5cuser\u2581",
	} {
		id, ok := tok.ID(spelling)
		if got := tok.Bytes(id); !ok || string(got) != bytes {
			t.Errorf("%q: id %d, bytes %q, want %q", spelling, id, got, bytes)
		}
	}
	for _, id := range []int32{-1, int32(tok.Size())} {
		if s, ok := tok.Token(id); ok || tok.Bytes(id) != nil {
			t.Errorf("id %d has the token %q", id, s)
		}
	}
	if id, ok := tok.ID("no such token"); ok {
		t.Errorf("unknown token has id %d", id)
	}
}

func TestConcurrentEncode(t *testing.T) {
	tok := english().parse(t)
	var texts []string
	var want [][]int32
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		texts = append(texts, randomText(r)+" hello world"+randomText(r))
		want = append(want, tok.Encode(texts[len(texts)-1]))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range texts {
				k := (i + 31*g) % len(texts)
				if got := tok.Encode(texts[k]); !slices.Equal(got, want[k]) {
					t.Errorf("%q: got %v, want %v", texts[k], got, want[k])
				}
			}
		})
	}
	wg.Wait()
}

func TestCacheCollisions(t *testing.T) {
	// Many more words than the cache has places, twice, so that places are fought over. No
	// merge of the fixture applies to them.
	tok := english().parse(t)
	var words []string
	for i := range 3 * cacheSize {
		words = append(words, fmt.Sprintf("w%x", i*7919))
	}
	for range 2 {
		for _, w := range words {
			var want []int32
			for _, b := range []byte(w) {
				want = append(want, int32(b))
			}
			if got := tok.EncodePlain(w); !slices.Equal(got, want) {
				t.Fatalf("%q: got %v, want %v", w, got, want)
			}
		}
	}
}

// FuzzEncode: nothing is lost or invented, and every id has a token.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{
		"", "hello the world", "<|end|>", "e\u0301", "\xff\xf0\x9f", " \r\n\t x",
		strings.Repeat("the ", 100), "\uac01\u1100\u1161", strings.Repeat("\u0301\u0323", 40),
	} {
		f.Add(s)
	}
	tok := english().parse(f)
	all := map[string][]scanner{}
	for name, patterns := range patternSets {
		all[name] = scanners(f, patterns)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := toNFC(validUTF8(s))
		ids := tok.EncodePlain(s)
		for _, id := range ids {
			if tok.vocab.get(id).kind != ordinary {
				t.Errorf("id %d is not an ordinary token", id)
			}
		}
		if got := tok.Decode(ids, false); got != want {
			t.Errorf("%q: came back as %q, want %q", s, got, want)
		}
		for _, id := range tok.Encode(s) {
			if id < 0 || int(id) >= tok.Size() || tok.vocab.get(id).kind == absent {
				t.Errorf("%q: id %d is out of range", s, id)
			}
		}
		for name, steps := range all {
			parts := pieces(tok.classes, steps, want)
			if strings.Join(parts, "") != want {
				t.Errorf("%s: %q fell into %q", name, want, parts)
			}
			for _, p := range parts {
				if !utf8.ValidString(p) {
					t.Errorf("%s: piece %q cuts a character", name, p)
				}
			}
		}
	})
}

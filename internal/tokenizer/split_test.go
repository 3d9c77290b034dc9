package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
)

// patternSets are the splitting steps of the published tokenizers, by the names that the
// vectors use.
var patternSets = map[string][]string{
	"qwen3":       {patternQwen},
	"glm-4":       {patternGLM},
	"gpt-oss":     {patternO200k},
	"deepseek-v3": {patternV3Digits, patternV3CJK, patternV3Words},
	// The files have Digits where this has the equal pattern \p{N}.
	"deepseek-llm-and-v2": {patternV2Lines, patternV2Letters, patternV2Punct, patternV2CJK, `\p{N}`},
}

func scanners(t testing.TB, patterns []string) []scanner {
	t.Helper()
	var steps []scanner
	for _, p := range patterns {
		if p == `\p{N}` {
			steps = append(steps, scanNumber)
			continue
		}
		step, err := scannerFor(p)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	return steps
}

// pieces splits s as encoder.split does.
func pieces(c *classes, steps []scanner, s string) []string {
	if len(steps) == 0 {
		return []string{s}
	}
	var out []string
	for s != "" {
		start, end := steps[0](c, s)
		if start == end {
			start, end = len(s), len(s)
		}
		for _, part := range []string{s[:start], s[start:end]} {
			if part != "" {
				out = append(out, pieces(c, steps[1:], part)...)
			}
		}
		s = s[end:]
	}
	return out
}

func TestSplitVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/pretokenize.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []map[string]json.RawMessage }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	c := newClasses()
	for name, patterns := range patternSets {
		steps, checked := scanners(t, patterns), 0
		for _, one := range file.Cases {
			var text string
			var want []string
			if err := json.Unmarshal(one["text"], &text); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(one[name], &want); err != nil {
				t.Fatalf("%s: %q: %v", name, text, err)
			}
			if name == "qwen3" {
				text = toNFC(text)
			}
			if got := pieces(c, steps, text); !slices.Equal(got, want) {
				t.Errorf("%s: %q\n got %q\nwant %q", name, text, got, want)
			}
			checked++
		}
		if checked < 60 {
			t.Errorf("%s: only %d vectors", name, checked)
		}
	}
}

// oracle splits with a regular expression engine.
type oracle []*regexp2.Regexp

func newOracle(patterns []string) oracle {
	var o oracle
	for _, p := range patterns {
		// regexp2 folds case without U+017F.
		p = strings.ReplaceAll(p, "(?i:'s|", "(?i:'s|'\u017f|")
		o = append(o, regexp2.MustCompile(p, regexp2.None))
	}
	return o
}

func (o oracle) pieces(t testing.TB, s string) []string {
	if len(o) == 0 {
		return []string{s}
	}
	var out []string
	chars, from := []rune(s), 0
	cut := func(to int) {
		if to > from {
			out = append(out, o[1:].pieces(t, string(chars[from:to]))...)
			from = to
		}
	}
	m, err := o[0].FindRunesMatch(chars)
	for ; m != nil && err == nil; m, err = o[0].FindNextMatch(m) {
		cut(m.Index)
		cut(m.Index + m.Length)
	}
	if err != nil {
		t.Fatal(err)
	}
	cut(len(chars))
	return out
}

// awkward holds characters that patterns treat differently, and parts of their literals.
var awkward = []string{
	"a", "b", "S", "T", "Q", " ", " ", "  ", "\n", "\r", "\t", "\u00a0", "\u3000", "\u2028",
	"\u0085",
	"\u200b", "\ufeff", "\x1c", "\x00", "'", "'s", "'\u017f", "'T", "'re", "'LL", "'vE", "\u017f",
	"1", "23", "\u00b2", "\u2167", "\u0663", "\u4e2d", "\u3042", "\u30a2", "\u30fb", "\ud55c", "\u0800",
	"\u01c5", "\u02b0", "\u00df", "\u00e9", "e\u0301", "\u0301", "\u0e33", "!", "/", "//", "(", "_", "$",
	"\u20ac", "\u3002", "\uff01", "\U0001f600", "\u200d", "\ufe0f", "\u0378", "\U00020000",
	"\U000e0041",
	// The borders of the ranges that DeepSeek's patterns name.
	"\u07ff", "\u4dff", "\u4e00", "\u9fa5", "\u9fa6", "\u303f", "\u3040", "\u309f", "\u30a0", "\u30ff",
	"\u3100", "\uabff", "\uac00", "\ud7ff", "\ue000",
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(12) {
		b.WriteString(awkward[r.IntN(len(awkward))])
	}
	return b.String()
}

func TestSplitAgainstRegex(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	c := newClasses()
	for name, patterns := range patternSets {
		r := rand.New(rand.NewPCG(1, 2))
		steps, regex := scanners(t, patterns), newOracle(patterns)
		for range rounds {
			s := randomText(r)
			if got, want := pieces(c, steps, s), regex.pieces(t, s); !slices.Equal(got, want) {
				t.Fatalf("%s: %+q\n got %+q\nwant %+q", name, s, got, want)
			}
		}
	}
}

func TestScannerForLineBreaks(t *testing.T) {
	// DeepSeek's files hold CR and LF themselves.
	raw := strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(patternV3Words)
	if _, err := scannerFor(raw); err != nil {
		t.Error(err)
	}
	if _, err := scannerFor(`\w+`); err == nil || !strings.Contains(err.Error(), `\\w+`) {
		t.Errorf("unknown pattern: error %v does not name it", err)
	}
}

func TestLiteralScanner(t *testing.T) {
	step, err := literalScanner("ab")
	if err != nil {
		t.Fatal(err)
	}
	got := pieces(newClasses(), []scanner{step}, "xababy")
	if want := []string{"x", "ab", "ab", "y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := literalScanner(""); err == nil {
		t.Error("the empty pattern was accepted")
	}
}

func TestClassesMatchUnicode(t *testing.T) {
	c := newClasses()
	for _, one := range []struct {
		r    rune
		want class
	}{
		{'A', upper}, {'a', lower}, {'\u01c5', upper}, {'\u02b0', other}, {'\u4e2d', other},
		{'\U00020000', other}, {'\u0301', mark}, {'\U000e0100', mark}, {'7', number},
		{'\u2167', number}, {'!', punct}, {'+', symbols}, {'\U0001f600', symbols}, {' ', space},
		{'\u0085', space}, {'\u3000', space}, {'\u001c', 0}, {'\u200b', 0}, {'\u0378', 0},
		{'\ufffd', symbols}, {'\U0010ffff', 0},
	} {
		if got := c.of(one.r); got != one.want {
			t.Errorf("class of %U is %b, want %b", one.r, got, one.want)
		}
	}
}

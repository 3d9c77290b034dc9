package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidUTF8(t *testing.T) {
	// Expected values: Python's bytes.decode("utf-8", "replace"), R standing for U+FFFD.
	for in, want := range map[string]string{
		"plain \u4e2d\U0001f600": "plain \u4e2d\U0001f600",
		"\xff\xfe":               "RR",
		"a\x80b":                 "aRb",
		"\xe4\xb8":               "R",
		"\xe4\xb8x":              "Rx",
		"\xe4\xe4\xb8\xad":       "R\u4e2d",
		"\xf0\x9f\x98":           "R",
		"\xf0\x9f\x98\xf0":       "RR",
		"\xf0\x80\x80\x80":       "RRRR",
		"\xed\xa0\x80":           "RRR",
		"\xe0\x80\x80":           "RRR",
		"\xc0\xaf":               "RR",
		"\xc3":                   "R",
		"\xc3(":                  "R(",
		"\xf4\x90\x80\x80":       "RRRR",
		"\xf5\x80":               "RR",
		"\xf1\x80\x80A":          "RA",
		"\ufffd\xff":             "RR",
	} {
		if got := validUTF8(in); got != strings.ReplaceAll(want, "R", "\ufffd") {
			t.Errorf("%q: got %+q, want %q", in, got, want)
		}
	}
}

func TestDecoderHoldsBack(t *testing.T) {
	tok := english().parse(t)
	d := tok.NewDecoder(false)
	var got []string
	for _, b := range []byte("a\U0001f600\u4e2d\xe4x\xf0\x9f") {
		id, _ := tok.bpe.whole(string([]byte{b}))
		got = append(got, d.Push(id))
	}
	got = append(got, d.Flush(), d.Flush())
	want := "a||||\U0001f600|||\u4e2d||\ufffdx|||\ufffd|"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got %q, want %q", s, want)
	}
}

func TestDecodeSpecial(t *testing.T) {
	tok := english().parse(t)
	ids := tok.Encode("hello<|end|> world<think>\uff5cuser\u2581")
	for skip, want := range map[bool]string{
		false: "hello<|end|> world<think>\uff5cuser\u2581",
		true:  "hello world<think>",
	} {
		if got := tok.Decode(ids, skip); got != want {
			t.Errorf("skip %v: got %q, want %q", skip, got, want)
		}
		if got := streamed(tok, ids, skip); got != want {
			t.Errorf("skip %v: streamed %q, want %q", skip, got, want)
		}
	}
	if got := tok.Decode([]int32{-1, 1 << 30, int32(tok.Size())}, false); got != "" {
		t.Errorf("unknown ids decode to %q", got)
	}
}

func streamed(tok *Tokenizer, ids []int32, skip bool) string {
	var b strings.Builder
	d := tok.NewDecoder(skip)
	for _, id := range ids {
		part := d.Push(id)
		if !utf8.ValidString(part) {
			return "invalid: " + part
		}
		b.WriteString(part)
	}
	b.WriteString(d.Flush())
	return b.String()
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("hello \u4e2d"))
	f.Add([]byte{0xf0, 0x9f, 0xe4, 0xb8, 0xff, 0x41, 0xed, 0xa0})
	tok := english().parse(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var ids []int32
		for i, b := range raw {
			ids = append(ids, tok.bpe.bytes[b])
			if i%7 == 3 {
				ids = append(ids, int32(256+int(b)%24)) // merges, added tokens, unknown ids
			}
			if tok.bpe.bytes[b] < 0 {
				t.Fatalf("no token for byte %#x", b)
			}
		}
		for _, skip := range []bool{false, true} {
			if got, want := streamed(tok, ids, skip), tok.Decode(ids, skip); got != want {
				t.Errorf("streamed %q, at once %q", got, want)
			}
		}
	})
}

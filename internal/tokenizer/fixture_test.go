package tokenizer

import (
	"encoding/json"
	"strings"
	"testing"
)

// fixture is a small tokenizer.json in the making: all byte symbols, in order, then one entry
// for each merge.
type fixture struct {
	Version       string           `json:"version"`
	Added         []map[string]any `json:"added_tokens"`
	Normalizer    any              `json:"normalizer"`
	PreTokenizer  any              `json:"pre_tokenizer"`
	PostProcessor any              `json:"post_processor"`
	Decoder       any              `json:"decoder"`
	Model         map[string]any   `json:"model"`
}

type object = map[string]any

// newFixture has ids 0-255 for the bytes and 256 onwards for the merges, each "left right" in
// plain text without spaces inside.
func newFixture(patterns []string, merges ...string) *fixture {
	vocab := map[string]int{}
	for i := range 256 {
		vocab[string(symbol(byte(i)))] = i
	}
	pairs := make([][]string, 0, len(merges))
	for _, m := range merges {
		pair := strings.Split(m, " ")
		vocab[pair[0]+pair[1]] = len(vocab)
		pairs = append(pairs, pair)
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
		"use_regex": false}
	steps := []any{}
	for _, p := range patterns {
		steps = append(steps, object{"type": "Split", "pattern": object{"Regex": p},
			"behavior": "Isolated", "invert": false})
	}
	return &fixture{
		Version:       "1.0",
		Added:         []map[string]any{},
		PreTokenizer:  object{"type": "Sequence", "pretokenizers": append(steps, byteLevel)},
		PostProcessor: byteLevel,
		Decoder:       byteLevel,
		Model: object{"type": "BPE", "dropout": nil, "unk_token": nil,
			"continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
			"byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": pairs},
	}
}

// add appends an added token with the next free id and returns the id.
func (f *fixture) add(content string, special, normalized bool) int32 {
	id := len(f.Model["vocab"].(map[string]int)) + len(f.Added)
	f.Added = append(f.Added, object{"id": id, "content": content, "special": special,
		"normalized": normalized, "single_word": false, "lstrip": false, "rstrip": false})
	return int32(id)
}

func (f *fixture) json(t testing.TB) []byte {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f *fixture) parse(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := Parse(f.json(t), "tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// english is a fixture with NFC, the Qwen pattern, some merges and added tokens.
func english() *fixture {
	f := newFixture([]string{patternQwen},
		"h e", "t he", "i n", "Ġ the", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d",
		"Ġwor ld", "Ã ©", "Ġ Ġ", "ĠĠ ĠĠ", "e r", "Ċ Ċ")
	f.Normalizer = object{"type": "NFC"}
	f.add("<|end|>", true, false)
	f.add("<think>", false, false)
	f.add("\uff5cuser\u2581", true, false)
	return f
}

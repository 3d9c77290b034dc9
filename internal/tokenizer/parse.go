package tokenizer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"unicode/utf8"
)

// Limits of the file, and with it of everything that Parse allocates (at worst some 20 bytes
// for each of the file, 300 for each of a small section). The largest public tokenizer.json
// has 35 MB; there, 1,000 added tokens take 0.2 MB, and the other sections a few kB.
const (
	maxFileBytes    = 64 << 20
	maxAddedSection = 16 << 20
	maxSmallSection = 1 << 20
)

// Load reads the tokenizer.json at path.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s: %d bytes, more than the limit of %d",
			path, info.Size(), maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	return Parse(data, path)
}

// Parse builds a Tokenizer from the text of a tokenizer.json; name stands for the file in
// errors. data is not kept.
func Parse(data []byte, name string) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", len(data), maxFileBytes)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	f, err := readFile(data)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{classes: newClasses()}
	if t.nfc, err = readNormalizer(f.sections["normalizer"]); err != nil {
		return nil, err
	}
	if t.steps, err = readPreTokenizer(f.sections["pre_tokenizer"]); err != nil {
		return nil, err
	}
	if err := checkPostProcessor(f.sections["post_processor"]); err != nil {
		return nil, err
	}
	if err := checkDecoder(f.sections["decoder"]); err != nil {
		return nil, err
	}
	t.vocab, t.bpe = f.model.vocab, f.model.bpe
	if err := t.addTokens(f.sections["added_tokens"]); err != nil {
		return nil, err
	}
	t.encoders = sync.Pool{New: func() any { return newEncoder(t) }}
	return t, nil
}

// file is a tokenizer.json cut into sections, the model already read.
type file struct {
	sections map[string][]byte
	model    *modelReader
}

func readFile(data []byte) (*file, error) {
	// truncation and padding are defaults for batches that the transformers library, too,
	// sets aside when it encodes one text.
	known := []string{"version", "truncation", "padding", "added_tokens", "normalizer",
		"pre_tokenizer", "post_processor", "decoder"}
	f := &file{sections: map[string][]byte{}}
	r := &reader{data: data}
	err := r.object(func(key []byte) error {
		field := string(key)
		if field == "model" {
			if f.model != nil {
				return errors.New("model: given twice")
			}
			f.model = &modelReader{}
			return f.model.read(r)
		}
		if !slices.Contains(known, field) {
			return fmt.Errorf("unknown field %q", field)
		}
		if _, twice := f.sections[field]; twice {
			return fmt.Errorf("%s: given twice", field)
		}
		raw, err := r.raw()
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		limit := maxSmallSection
		if field == "added_tokens" {
			limit = maxAddedSection
		}
		if len(raw) > limit {
			return fmt.Errorf("%s: %d bytes, more than the limit of %d", field, len(raw), limit)
		}
		f.sections[field] = raw
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f.model == nil {
		return nil, errors.New("model: missing")
	}
	return f, r.end()
}

package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

// modelReader reads the section "model": vocabulary, merges and options.
type modelReader struct {
	vocab   *vocab
	bpe     *bpe
	merges  []byte // text of the merges, where they come before the vocabulary
	seen    map[string]bool
	options modelOptions
}

// modelOptions are the fields of "model" other than the two large ones. unk_token and fuse_unk
// never come into play: every byte has a token.
type modelOptions struct {
	Type         string  `json:"type"`
	Dropout      float64 `json:"dropout"`
	UnkToken     string  `json:"unk_token"`
	Prefix       string  `json:"continuing_subword_prefix"`
	Suffix       string  `json:"end_of_word_suffix"`
	FuseUnk      bool    `json:"fuse_unk"`
	ByteFallback bool    `json:"byte_fallback"`
	IgnoreMerges bool    `json:"ignore_merges"`
}

func (m *modelReader) read(r *reader) error {
	m.options.Type = "BPE"
	m.seen = map[string]bool{}
	if err := r.object(func(key []byte) error { return m.field(r, string(key)) }); err != nil {
		return err
	}
	if err := m.options.check(); err != nil {
		return err
	}
	if m.vocab == nil {
		return errors.New("model.vocab: missing")
	}
	if m.merges != nil {
		if err := m.readMerges(&reader{data: m.merges}); err != nil {
			return err
		}
	}
	if m.bpe == nil {
		return errors.New("model.merges: missing")
	}
	m.bpe.wholePieces = m.options.IgnoreMerges
	return m.bpe.setBytes(m.vocab)
}

func (m *modelReader) readMerges(r *reader) error {
	merges, err := readMerges(r, m.vocab)
	if err != nil {
		return fmt.Errorf("model.merges%w", err)
	}
	m.bpe = &bpe{vocab: m.vocab, merges: merges}
	return nil
}

func (m *modelReader) field(r *reader, field string) error {
	if m.seen[field] {
		return fmt.Errorf("model.%s: given twice", field)
	}
	m.seen[field] = true
	switch {
	case field == "vocab":
		v, err := readVocab(r)
		if err != nil {
			return fmt.Errorf("model.vocab: %w", err)
		}
		m.vocab = v
		return nil
	case field == "merges" && m.vocab != nil:
		return m.readMerges(r)
	}
	raw, err := r.raw()
	if err != nil {
		return fmt.Errorf("model.%s: %w", field, err)
	}
	if field == "merges" {
		m.merges = raw
		return nil
	}
	one, err := json.Marshal(map[string]json.RawMessage{field: raw})
	if err != nil {
		return fmt.Errorf("model.%s: %w", field, err)
	}
	return strict(one, &m.options, "model")
}

func (o *modelOptions) check() error {
	switch {
	case o.Type != "BPE":
		return fmt.Errorf("model.type: %q is not supported, only BPE", o.Type)
	case o.Dropout != 0:
		return errors.New("model.dropout: not supported")
	case o.Prefix != "":
		return errors.New("model.continuing_subword_prefix: not supported")
	case o.Suffix != "":
		return errors.New("model.end_of_word_suffix: not supported")
	case o.ByteFallback:
		return errors.New("model.byte_fallback: not supported")
	}
	return nil
}

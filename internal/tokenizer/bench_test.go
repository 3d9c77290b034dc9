package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tokenizer of the goldens is small and was trained on little text, so it merges less per
// byte, and its words miss the vocabulary more often, than a published one.

func BenchmarkEncode(b *testing.B) {
	tok := loadGolden(b, "tokenizer.json")
	for _, corpus := range []struct{ name, files string }{
		{"english", "testdata/english.txt"},
		{"code", "*.go"},
	} {
		text := readAll(b, corpus.files)
		b.Run(corpus.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tok.EncodePlain(text)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile(filepath.Join(goldenDir, "tokenizer.json"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data, "tokenizer.json"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPush is the cost of streaming one token.
func BenchmarkPush(b *testing.B) {
	tok := loadGolden(b, "tokenizer.json")
	ids := tok.EncodePlain(readAll(b, "testdata/english.txt"))
	b.ReportAllocs()
	d := tok.NewDecoder(true)
	for i := 0; b.Loop(); i++ {
		d.Push(ids[i%len(ids)])
	}
}

// BenchmarkLongPiece merges one piece without any split in it.
func BenchmarkLongPiece(b *testing.B) {
	tok := loadGolden(b, "tokenizer.json")
	text := strings.Repeat("themergesofalongpiece", 5000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.EncodePlain(text)
	}
}

func readAll(b *testing.B, pattern string) string {
	b.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		b.Fatalf("%s: no files, error %v", pattern, err)
	}
	var text strings.Builder
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

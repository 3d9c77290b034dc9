package grammar

import (
	"testing"

	"github.com/conclave-serve/conclave/internal/grammar/regular"
)

func BenchmarkNewVocabulary(b *testing.B) {
	list := words(150_000, 1)
	for b.Loop() {
		NewVocabulary(len(list), func(id int32) []byte { return list[id] })
	}
}

// quotedText is the inside of a JSON string.
func quotedText(most int) *Expr {
	return Seq(Literal(`"`), Repeat(Choice(Chars(regular.Of('"', '"', '\\', '\\', 0, 31).Not()),
		Seq(Literal(`\`), Chars(regular.Of('n', 'n', '"', '"', '\\', '\\', 't', 't')))), 0, most), Literal(`"`))
}

func BenchmarkMaskInString(b *testing.B) {
	v := vocabulary(150_000, 10, 1)
	mask := make([]uint64, v.Words())
	for name, most := range map[string]int{"unbounded": Unbounded, "room=1000": 1000, "room=10": 10, "room=3": 3} {
		g := compile(b, quotedText(most), v)
		m := g.NewMatcher()
		m.Accept('"')
		m.Mask(mask, 1000) // the run of the vocabulary
		b.Run(name+"/known", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Mask(mask, 1000)
			}
		})
		b.Run(name+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.mu.Lock()
				g.forget()
				g.mu.Unlock()
				m.Mask(mask, 1000)
			}
		})
		b.Run(name+"/closing", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Mask(mask, 2)
			}
		})
	}
}

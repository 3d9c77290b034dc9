package sched

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestShare(t *testing.T) {
	prompt := func(n int) Demand { return Demand{Rows: n} }
	guess := func(n int) Demand { return Demand{Rows: 1, Draft: n} }
	scored := func(n int) Demand { return Demand{Rows: n, AllLogits: true} }
	for _, c := range []struct {
		name    string
		demands []Demand
		budget  Budget
		want    []int
	}{
		{"nothing runs", nil, Budget{8, 4}, []int{}},
		{"decoding comes before an older prompt", []Demand{prompt(100), prompt(1), prompt(1)}, Budget{8, 4}, []int{6, 1, 1}},
		{"the first prompt gets half", []Demand{prompt(9), prompt(9), prompt(9)}, Budget{8, 4}, []int{4, 2, 2}},
		{"and more if the others want less", []Demand{prompt(9), prompt(2)}, Budget{8, 4}, []int{6, 2}},
		{"a short prompt is not behind long ones", []Demand{prompt(900), prompt(900), prompt(20)}, Budget{128, 4}, []int{64, 44, 20}},
		{"all rows are given", []Demand{prompt(2), prompt(3), prompt(90), prompt(3)}, Budget{64, 4}, []int{2, 3, 56, 3}},
		{"fewer rows than prompts", []Demand{prompt(9), prompt(9), prompt(9), prompt(9)}, Budget{3, 3}, []int{2, 1, 0, 0}},
		{"guesses get what is left", []Demand{guess(3), prompt(9), guess(3)}, Budget{14, 6}, []int{4, 9, 1}},
		{"guesses get nothing of a long prompt's", []Demand{guess(3), prompt(99)}, Budget{14, 5}, []int{1, 13}},
		{"scored prompts are bound by logits", []Demand{scored(9), prompt(1)}, Budget{8, 4}, []int{3, 1}},
		{"a chunk that ends no prompt needs no logits", []Demand{prompt(1), prompt(20)}, Budget{8, 2}, []int{1, 7}},
		{"a prompt goes on without logits, but for its last row", []Demand{prompt(1), prompt(1), prompt(4)}, Budget{8, 2}, []int{1, 1, 3}},
		{"no rows are left", []Demand{prompt(1), prompt(9), scored(9)}, Budget{1, 1}, []int{1, 0, 0}},
		{"more decoders than logits", []Demand{prompt(1), prompt(1), prompt(1)}, Budget{8, 2}, []int{1, 1, 0}},
	} {
		got := make([]int, len(c.demands))
		Share(c.demands, c.budget, got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestShareProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		demands := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Demand {
			d := Demand{Rows: rapid.IntRange(1, 50).Draw(t, "rows"), AllLogits: rapid.Bool().Draw(t, "all")}
			if d.Rows == 1 {
				d.Draft = rapid.IntRange(0, 5).Draw(t, "draft")
			}
			return d
		})).Draw(t, "demands")
		b := Budget{Rows: rapid.IntRange(1, 64).Draw(t, "row budget")}
		b.Logits = rapid.IntRange(1, b.Rows).Draw(t, "logit budget")
		shares := make([]int, len(demands))
		Share(demands, b, shares)
		rows, logits := 0, 0
		for i, n := range shares {
			if n < 0 || n > demands[i].Rows+demands[i].Draft {
				t.Fatalf("share %d of %d", n, demands[i].Rows)
			}
			rows += n
			switch {
			case demands[i].AllLogits, demands[i].Rows == 1:
				logits += n
			case n == demands[i].Rows:
				logits++
			}
		}
		if rows > b.Rows || logits > b.Logits {
			t.Fatalf("%d rows, %d logits exceed %+v", rows, logits, b)
		}
		if len(demands) > 0 && rows == 0 {
			t.Fatal("no sequence advances")
		}
	})
}

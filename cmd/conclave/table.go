package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// columnWidth is what a column may take beside others: with the names of the facts, two of them fit
// 80 columns, and three 112.
const columnWidth = 30

// printInspections prints a row for each fact and a column for each checkpoint, in which long facts
// go on in the next line if there are several. A fact that none of them has is left out.
func printInspections(w io.Writer, list []*inspection) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	width := columnWidth
	if len(list) == 1 {
		width = math.MaxInt
	}
	var rows [][]string
	for k, i := range list {
		for r, row := range i.rows() {
			if k == 0 {
				rows = append(rows, []string{row[0]})
			}
			rows[r] = append(rows[r], row[1])
		}
	}
	for _, row := range rows {
		if !slices.ContainsFunc(row[1:], func(cell string) bool { return cell != "" }) {
			continue
		}
		for _, line := range folded(row, width) {
			fmt.Fprintln(t, strings.Join(line, "\t"))
		}
	}
	return t.Flush()
}

// folded makes as many lines of a row as its longest fact needs; an empty fact becomes a dash.
func folded(row []string, width int) [][]string {
	var lines [][]string
	for c, cell := range row {
		if cell == "" {
			cell = "-"
		}
		for l, text := range fold(cell, width) {
			if l == len(lines) {
				lines = append(lines, make([]string, len(row)))
			}
			lines[l][c] = text
		}
	}
	return lines
}

// fold breaks text between words into lines of at most width characters, if its words allow that.
func fold(text string, width int) []string {
	words := strings.Split(text, " ")
	lines := words[:1:1]
	for _, word := range words[1:] {
		last := &lines[len(lines)-1]
		if utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width {
			*last += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// rows are names and values; a value is empty where it does not apply.
func (i *inspection) rows() [][2]string {
	return [][2]string{
		{"model", i.title()},
		{"family", i.Family},
		{"parameters", rounded(i.Parameters)},
		{"active per token", rounded(i.ActiveParameters)},
		{"layers", fmt.Sprintf("%d: %d dense, %d MoE", i.Layers, i.DenseLayers, i.MoELayers)},
		{"MTP layers", when(i.MTPLayers > 0, "%d, recognised, not used", i.MTPLayers)},
		{"hidden size", strconv.Itoa(i.Hidden)},
		{"attention", i.Attention},
		{"heads", i.Heads},
		{"rotary", i.Rotary},
		{"context", humanize.Comma(int64(i.Context)) + when(i.Extension != "", ": %s", i.Extension)},
		{"KV cache, bf16", humanize.Comma(i.KVBytes) + " B per token"},
		{"  of windows", size(i.KVBytesWindow)},
		{"  at 8k", size(i.KVBytes8K)},
		{"  at 128k", size(i.KVBytes128K)},
		{"experts", when(i.Experts > 0, "%d of width %d, top %d", i.Experts, i.ExpertWidth, i.TopK)},
		{"shared expert", when(i.SharedWidth > 0, "width %d", i.SharedWidth)},
		{"gate", i.Gate},
		{"quantisation", i.Quantization},
		{"tokenizer", when(i.Tokenizer != "", "%s, %d tokens", i.Tokenizer, i.Tokens)},
		{"tool format", i.ToolFormat},
		{"vocabulary", humanize.Comma(int64(i.Vocabulary)) + " rows"},
		{"attention part", size(i.AttentionBytes)},
		{"routed experts", size(i.ExpertsBytes)},
		{"  in int8", size(i.ExpertsBytesInt8)},
		{"  in int4", size(i.ExpertsBytesInt4)},
		{"one expert", size(i.ExpertBytes)},
		{"not used", size(i.UnusedBytes)},
		{"sizes from", i.SizesFrom},
	}
}

// when formats a fact, or says nothing.
func when(is bool, format string, args ...any) string {
	if !is {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// rounded is such as "30.53 B (30,532,122,624)".
func rounded(n int64) string {
	unit, name := 1e9, "B"
	if n < 1e9 {
		unit, name = 1e6, "M"
	}
	return fmt.Sprintf("%.2f %s (%s)", float64(n)/unit, name, humanize.Comma(n))
}

// size is such as "17.77 GiB (19,082,195,296 B)".
func size(n int64) string {
	unit, name := float64(1<<30), "GiB"
	switch {
	case n == 0:
		return ""
	case n < 1<<20:
		unit, name = 1<<10, "KiB"
	case n < 1<<30:
		unit, name = 1<<20, "MiB"
	}
	return fmt.Sprintf("%.2f %s (%s B)", float64(n)/unit, name, humanize.Comma(n))
}

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conclave-serve/conclave/internal/synth"
)

func config(name string) string {
	return filepath.Join("..", "..", "model", "testdata", "configs", name+".config.json")
}

// TestInspectPublished types the project's fact sheet of the releases: parameters in billions, the
// cache of a token in bf16, and the bytes of one expert, of all of them, and of the rest.
func TestInspectPublished(t *testing.T) {
	for _, c := range []struct {
		name                       string
		total, active              string
		kv, kvWindow               int64
		expert, experts, attention int64
		words                      string
	}{
		{"qwen3-0.6b", "596.05 M", "596.05 M", 114_688, 0, 0, 0, 1_192_099_840, "GQA 16:8, QK norm"},
		{"qwen3-1.7b", "1.72 B", "1.72 B", 114_688, 0, 0, 0, 3_441_149_952, "GQA 16:8, QK norm"},
		{"qwen3-4b", "4.02 B", "4.02 B", 147_456, 0, 0, 0, 8_044_936_192, "GQA 32:8, QK norm"},
		{"qwen3-4b-2507", "4.02 B", "4.02 B", 147_456, 0, 0, 0, 8_044_936_192, "262,144"},
		{"qwen3-8b", "8.19 B", "8.19 B", 147_456, 0, 0, 0, 2 * 8_190_735_360, "40,960"},
		{"qwen3-14b", "14.77 B", "14.77 B", 163_840, 0, 0, 0, 2 * 14_768_307_200, "none, BF16"},
		{"qwen3-32b", "32.76 B", "32.76 B", 262_144, 0, 0, 0, 2 * 32_762_123_264, "64 of 128"},
		{"qwen3-32b-fp8", "32.76 B", "32.76 B", 262_144, 0, 0, 0, 0, "FP8 E4M3, blocks of 128×128"},
		{"qwen3-30b-a3b", "30.53 B", "3.35 B", 98_304, 0, 9_437_184, 6144 * 9_437_184,
			61_064_245_248 - 6144*9_437_184, "128 of width 768, top 8"},
		{"qwen3-30b-a3b-2507", "30.53 B", "3.35 B", 98_304, 0, 9_437_184, 6144 * 9_437_184,
			61_064_245_248 - 6144*9_437_184, "θ 10,000,000, 128 dims"},
		{"qwen3-30b-a3b-fp8", "30.53 B", "3.35 B", 98_304, 0, 4_719_168, 6144 * 4_719_168,
			31_170_895_872 - 6144*4_719_168, "softmax, renormalised"},
		{"qwen3-235b-a22b", "235.09 B", "22.19 B", 192_512, 0, 37_748_736, 94 * 128 * 37_748_736,
			470_187_269_120 - 94*128*37_748_736, "94: 0 dense, 94 MoE"},
		{"qwen3-235b-a22b-2507", "235.09 B", "22.19 B", 192_512, 0, 37_748_736, 94 * 128 * 37_748_736,
			470_187_269_120 - 94*128*37_748_736, "262,144"},
		{"qwen3-235b-a22b-fp8", "235.09 B", "22.19 B", 192_512, 0, 18_876_672, 94 * 128 * 18_876_672,
			236_416_915_456 - 94*128*18_876_672, "FP8 E4M3"},
		{"qwen3-coder-480b-a35b", "480.15 B", "35.47 B", 253_952, 0, 0, 0, 0, "160 of width 2560, top 8"},
		{"gpt-oss-20b", "20.91 B", "4.19 B", 24_576, 3_145_728, 13_236_480, 10_165_616_640, 3_595_648_128,
			"GQA 64:8, window 128 in 12 of 24 layers, sinks, biases"},
		{"gpt-oss-120b", "116.83 B", "5.71 B", 36_864, 4_718_592, 13_236_480, 60_993_699_840, 4_255_115_904,
			"131,072: YaRN ×32 from 4,096"},
		{"deepseek-v3", "671.03 B", "37.55 B", 70_272, 0, 44_050_944, 58 * 256 * 44_050_944,
			673_150_611_808 - 58*256*44_050_944, "sigmoid, corrected, 4 of 8 groups, renormalised, ×2.5"},
		{"deepseek-r1", "671.03 B", "37.55 B", 70_272, 0, 44_050_944, 58 * 256 * 44_050_944,
			673_150_611_808 - 58*256*44_050_944, "MLA, latent 512+64"},
		{"deepseek-v3.1", "671.03 B", "37.55 B", 70_272, 0, 44_050_944, 58 * 256 * 44_050_944,
			673_150_611_808 - 58*256*44_050_944, "scales powers of two"},
		{"deepseek-v2-lite", "15.71 B", "2.66 B", 31_104, 0, 17_301_504, 26 * 64 * 17_301_504,
			2*15_706_484_224 - 26*64*17_301_504, "width 2816"},
		{"kimi-k2-instruct", "1026.41 B", "32.86 B", 70_272, 0, 44_050_944, 60 * 384 * 44_050_944, 0,
			"sigmoid, corrected, renormalised, ×2.827"},
		{"glm-4.5", "352.80 B", "33.63 B", 376_832, 0, 0, 0, 0, "GQA 96:8, QK norm, biases"},
		{"glm-4.6", "352.80 B", "33.63 B", 376_832, 0, 0, 0, 0, "θ 1,000,000, 64 dims"},
		{"glm-4.5-air", "106.85 B", "13.42 B", 188_416, 0, 0, 0, 0, "1, recognised, not used"},
	} {
		i, err := inspect(t.Context(), config(c.name))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := printInspections(&out, []*inspection{i}); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		for _, want := range []string{
			"\nparameters        " + c.total + " (", "\nactive per token  " + c.active + " (", c.words,
			"model             " + c.name + "\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: lacks %q:\n%s", c.name, want, text)
			}
		}
		if i.KVBytes != c.kv || i.KVBytesWindow != c.kvWindow || i.KVBytes8K != 8192*c.kv+c.kvWindow ||
			i.KVBytes128K != 131072*c.kv+c.kvWindow {
			t.Errorf("%s: cache %d + %d, %d, %d", c.name, i.KVBytes, i.KVBytesWindow, i.KVBytes8K, i.KVBytes128K)
		}
		if c.expert > 0 && (i.ExpertBytes != c.expert || i.ExpertsBytes != c.experts) ||
			c.attention > 0 && i.AttentionBytes != c.attention || i.SizesFrom != "config" {
			t.Errorf("%s: %+v", c.name, i)
		}
	}
}

// TestInspectFolder: with weights sizes are theirs, without they are computed, and come out the same.
func TestInspectFolder(t *testing.T) {
	golden := filepath.Join("..", "..", "testdata", "golden", "qwen3moe-nonorm-bf16")
	full, err := inspect(t.Context(), golden)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(golden, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	bare, err := inspect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if full.SizesFrom != "files" || bare.SizesFrom != "config" {
		t.Errorf("sizes from %s and %s", full.SizesFrom, bare.SizesFrom)
	}
	full.Path, full.SizesFrom, full.Tokenizer, full.Tokens = bare.Path, bare.SizesFrom, "", 0
	if *full != *bare {
		t.Errorf("with weights\n%+v, without\n%+v", *full, *bare)
	}
	if bare.title() != filepath.Base(dir) {
		t.Errorf("title %q", bare.title())
	}
	bad := filepath.Join(dir, "model.safetensors")
	if err := os.WriteFile(bad, []byte("too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := inspect(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "model.safetensors") {
		t.Errorf("broken weights: error %v", err)
	}
}

// TestInspectText: a tokenizer and a template that cannot serve are refused, by inspect and by up.
func TestInspectText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	for _, c := range []struct{ file, old, now, want string }{
		{"tokenizer_config.json", "", "", ""},
		{"tokenizer.json", `"id": 264`, `"id": 300`, "has 301 ids, but config.json says vocab_size 300"},
		{"tokenizer.json", `"type": "BPE"`, `"type": "Unigram"`, "tokenizer.json: model.type"},
		{"tokenizer_config.json", `{%- `, `{%- frob `, "chat_template"},
		{"tokenizer_config.json", `"chat_template"`, `"other"`, ""},
	} {
		_, err := synth.Run(t.Context(), synth.Config{
			File: tinyConfig, Out: dir, Vocab: 300, Force: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, c.file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), c.old) {
			t.Fatalf("%s lacks %s", c.file, c.old)
		}
		data = []byte(strings.Replace(string(data), c.old, c.now, 1))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := inspect(t.Context(), dir)
		_, _, upErr := new(upCommand).expertSize(t.Context(), modelPath(dir), slog.New(slog.DiscardHandler))
		for _, err := range []error{err, upErr} {
			if c.want == "" && err != nil || c.want != "" &&
				(err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s with %s: %v, want %q", c.file, c.now, err, c.want)
			}
		}
		if c.old == "" && i.ToolFormat != "plain" {
			t.Errorf("tool format %q", i.ToolFormat)
		}
	}
}

// TestInspectColumns: several checkpoints are columns; a fact that none has is left out.
func TestInspectColumns(t *testing.T) {
	var list []*inspection
	for _, name := range []string{"qwen3-8b", "gpt-oss-20b"} {
		i, err := inspect(t.Context(), config(name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, i)
	}
	var out strings.Builder
	if err := printInspections(&out, list); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	fields := map[string][]string{}
	for _, line := range lines {
		if name, rest, found := strings.Cut(line, "  "); found {
			fields[name] = strings.Fields(rest)
		}
	}
	if got := fields["family"]; len(got) != 2 || got[0] != "qwen3" || got[1] != "gpt_oss" {
		t.Errorf("families %q", got)
	}
	if got := fields["one expert"]; len(got) != 5 || got[0] != "-" || got[1] != "12.62" {
		t.Errorf("experts %q", got)
	}
	for _, name := range []string{"MTP layers", "shared expert", "tokenizer", "not used"} {
		if _, ok := fields[name]; ok {
			t.Errorf("has a row %q:\n%s", name, out.String())
		}
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("two columns take %d characters: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "  24 layers, sinks, biases\n") ||
		!strings.Contains(out.String(), "12 of\n") || !strings.Contains(out.String(), "\n  at 8k  ") {
		t.Errorf("long facts are not folded, or names have lost their indent:\n%s", out.String())
	}
}

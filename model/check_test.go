package model

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/internal/safetensors"
)

var goldenRoot = filepath.Join("..", "testdata", "golden")

// TestGoldens opens every checkpoint that the reference implementation wrote.
func TestGoldens(t *testing.T) {
	configs, err := filepath.Glob(filepath.Join(goldenRoot, "*", configFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(configs) < 6 {
		t.Fatalf("found %d golden checkpoints, want at least 6", len(configs))
	}
	for _, config := range configs {
		dir := filepath.Dir(config)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			s, ck := open(t, dir)
			if err := s.Check(ck); err != nil {
				t.Fatal(err)
			}
			used := make(map[string]bool)
			for _, one := range allTensors(s) {
				used[one.Name] = true
				used[one.Scales] = true
			}
			for _, name := range ck.Names() {
				var layer int
				_, err := fmt.Sscanf(name, "model.layers.%d.", &layer)
				mtp := err == nil && layer >= len(s.Layers) && s.MTPLayers > 0
				if !used[name] && !mtp && (!s.TiedEmbedding || name != "lm_head.weight") {
					t.Errorf("tensor %s belongs to nothing in the spec", name)
				}
			}
		})
	}
}

func open(t *testing.T, dir string) (*Spec, *safetensors.Checkpoint) {
	t.Helper()
	s, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := safetensors.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, ck
}

func allTensors(s *Spec) []Tensor {
	list := s.AttentionTensors()
	for _, l := range s.Layers {
		if l.MoE != nil {
			for _, e := range l.MoE.Experts {
				list = append(list, e.Tensors()...)
			}
		}
	}
	return list
}

// altered copies the small MoE golden to a folder after change has seen its tensors.
func altered(t *testing.T, change func([]safetensors.Tensor) []safetensors.Tensor) string {
	t.Helper()
	return alteredGolden(t, "qwen3moe-norm", change)
}

func alteredGolden(
	t *testing.T, golden string, change func([]safetensors.Tensor) []safetensors.Tensor,
) string {
	t.Helper()
	_, ck := open(t, filepath.Join(goldenRoot, golden))
	var tensors []safetensors.Tensor
	for _, name := range ck.Names() {
		one, _ := ck.Tensor(name)
		one.Data, one.Shape = bytes.Clone(one.Data), slices.Clone(one.Shape)
		tensors = append(tensors, one)
	}
	dir := t.TempDir()
	err := safetensors.Write(filepath.Join(dir, "model.safetensors"), change(tensors))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(goldenRoot, golden, configFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), config, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheckNamesTensors(t *testing.T) {
	dir := altered(t, func(list []safetensors.Tensor) []safetensors.Tensor {
		kept := list[:0]
		for _, one := range list {
			switch one.Name {
			case "model.norm.weight":
				continue
			case "model.layers.0.self_attn.q_proj.weight":
				one.Shape[0], one.Shape[1] = one.Shape[1]*2, one.Shape[0]/2
			case "model.layers.0.mlp.experts.3.up_proj.weight":
				one.DType = safetensors.I32
			}
			kept = append(kept, one)
		}
		return kept
	})
	s, ck := open(t, dir)
	err := s.Check(ck)
	if err == nil {
		t.Fatal("accepts it")
	}
	for _, want := range []string{
		"checkpoint: tensor model.norm.weight is missing",
		"model.safetensors: tensor model.layers.0.self_attn.q_proj.weight has shape [",
		", config.json implies [",
		"tensor model.layers.0.mlp.experts.3.up_proj.weight is stored as I32, which is not supported",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q\nlacks %q", err, want)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("%d lines, want 3:\n%v", n+1, err)
	}
}

func TestCheckIsBounded(t *testing.T) {
	s, _ := open(t, filepath.Join(goldenRoot, "qwen3moe-norm"))
	_, other := open(t, filepath.Join(goldenRoot, "qwen3-dense-tied"))
	err := s.Check(other)
	if err == nil || strings.Count(err.Error(), "\n") != maxProblems ||
		!strings.Contains(err.Error(), "more problems") {
		t.Errorf("error %v, want %d problems and a count", err, maxProblems)
	}
}

func TestExpertBytes(t *testing.T) {
	s, ck := open(t, filepath.Join(goldenRoot, "qwen3moe-mixed-f16"))
	for i, l := range s.Layers {
		want := int64(0)
		if l.MoE != nil {
			want = int64(3 * s.Hidden * s.ExpertWidth * 2)
		}
		if got := s.ExpertBytes(ck, i); got != want {
			t.Errorf("layer %d: %d bytes, want %d", i, got, want)
		}
	}
}

// TestLargestExpert: formats may differ from expert to expert.
func TestLargestExpert(t *testing.T) {
	saved := 0
	s, ck := open(t, altered(t, func(l []safetensors.Tensor) []safetensors.Tensor {
		for i, one := range l {
			if strings.HasSuffix(one.Name, ".up_proj.weight") && !strings.Contains(one.Name, ".experts.0.") {
				saved = len(one.Data) / 2
				l[i].DType, l[i].Data = safetensors.F16, make([]byte, saved)
			}
		}
		return l
	}))
	whole := int64(3 * s.Hidden * s.ExpertWidth * 4)
	if got := s.ExpertBytes(ck, 0); saved == 0 || got != whole || s.Sizes(ck).Expert != whole {
		t.Errorf("the largest expert has %d bytes, %d in all layers, want %d", got, s.Sizes(ck).Expert, whole)
	}
	one := s.Layers[0].MoE.Experts[1]
	if got := one.Bytes(ck); got != whole-int64(saved) {
		t.Errorf("expert 1 has %d bytes, want %d", got, whole-int64(saved))
	}
}

func TestTiedHeadIsEmbed(t *testing.T) {
	s, _ := open(t, filepath.Join(goldenRoot, "qwen3-dense-tied-with-stored-head"))
	if s.Head.Name != s.Embed.Name {
		t.Errorf("head is %s", s.Head.Name)
	}
}

// TestFingerprint: a copy has the same identity; a change of the config, of a header, or of weights
// behind an equal header does not.
func TestFingerprint(t *testing.T) {
	same := func(list []safetensors.Tensor) []safetensors.Tensor { return list }
	of := func(dir string) string {
		t.Helper()
		s, ck := open(t, dir)
		sum, err := s.Fingerprint(t.Context(), dir, ck)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first := of(altered(t, same))
	if again := of(altered(t, same)); again != first || len(first) != 64 {
		t.Errorf("two copies have %s and %s", first, again)
	}
	seen := map[string]bool{first: true}
	for name, change := range map[string]func([]safetensors.Tensor) []safetensors.Tensor{
		"another header": func(l []safetensors.Tensor) []safetensors.Tensor {
			return append(l, safetensors.Tensor{Name: "x", DType: "U8", Shape: []int{0}})
		},
		"other weights": func(l []safetensors.Tensor) []safetensors.Tensor {
			for _, one := range l {
				if strings.Contains(one.Name, "q_proj") {
					one.Data[0] ^= 1
				}
			}
			return l
		},
		"other experts": func(l []safetensors.Tensor) []safetensors.Tensor {
			for _, one := range l {
				if strings.Contains(one.Name, ".experts.") {
					one.Data[0] ^= 1
				}
			}
			return l
		},
	} {
		sum := of(altered(t, change))
		if seen[sum] {
			t.Errorf("%s: same fingerprint", name)
		}
		seen[sum] = true
	}
	dir := altered(t, same)
	config, err := os.OpenFile(filepath.Join(dir, configFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if err := config.Close(); err != nil {
		t.Fatal(err)
	}
	if seen[of(dir)] {
		t.Error("other config: same fingerprint")
	}
}

// A weight that was dequantised but kept its scales may have been scaled or not.
func TestCheckRefusesScalesOfPlainWeights(t *testing.T) {
	const weight = "model.layers.0.self_attn.o_proj.weight"
	dir := alteredGolden(t, "deepseek-v3-fp8", func(list []safetensors.Tensor) []safetensors.Tensor {
		for i := range list {
			if list[i].Name == weight {
				list[i].DType, list[i].Data = safetensors.BF16, make([]byte, 2*len(list[i].Data))
			}
		}
		return list
	})
	s, ck := open(t, dir)
	err := s.Check(ck)
	want := "model.safetensors: tensor " + weight + " is stored as BF16, but has scales, " + weight + "_scale_inv"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// Experts that are parts of one tensor make one problem, not one each.
func TestCheckNamesFusedTensorsOnce(t *testing.T) {
	dir := alteredGolden(t, "gptoss-32-experts", func(list []safetensors.Tensor) []safetensors.Tensor {
		for i := range list {
			if list[i].Name == "model.layers.0.mlp.experts.gate_up_proj_blocks" ||
				list[i].Name == "model.layers.0.mlp.experts.down_proj_scales" {
				list[i].DType = safetensors.I8
			}
		}
		return list
	})
	s, ck := open(t, dir)
	err := s.Check(ck)
	if err == nil || strings.Count(err.Error(), "\n") != 1 ||
		!strings.Contains(err.Error(), "gate_up_proj_blocks is stored as I8, want MXFP4 blocks in U8") ||
		!strings.Contains(err.Error(), "down_proj_scales are stored as I8") {
		t.Errorf("error %v, want two lines", err)
	}
}

package shard

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func equalLayers(n, experts int) []Layer {
	layers := make([]Layer, n)
	for i := range layers {
		layers[i] = Layer{Experts: experts, ExpertBytes: 100}
	}
	return layers
}

func workers(n int) []Capacity {
	out := make([]Capacity, n)
	for i := range out {
		out[i].ID = WorkerID(fmt.Sprintf("w%02d", i))
	}
	return out
}

// copies counts the holders of each expert and fails on an expert that has
// not exactly one.
func checkOneCopy(t interface{ Fatalf(string, ...any) }, p *Plan, layers []Layer) {
	for l, layer := range layers {
		if layer.Experts == 0 {
			if p.Layers[l] != nil {
				t.Fatalf("dense layer %d has owners", l)
			}
			continue
		}
		for e := range layer.Experts {
			n := 0
			for _, s := range p.Layers[l] {
				if s.Has(e) {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("layer %d expert %d has %d owners", l, e, n)
			}
		}
	}
}

func load(p *Plan) map[WorkerID]int {
	out := map[WorkerID]int{}
	for i, w := range p.Workers {
		for _, sets := range p.Layers {
			if sets != nil {
				out[w] += sets[i].Len()
			}
		}
	}
	return out
}

func moved(a, b *Plan) int {
	n := 0
	for l := range b.Layers {
		for i, w := range b.Workers {
			if b.Layers[l] == nil {
				continue
			}
			var before Set
			if old := a.Assigned(w); old != nil {
				before = old[l]
			}
			n += b.Layers[l][i].Minus(before).Len()
		}
	}
	return n
}

func TestPlannerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers := equalLayers(rapid.IntRange(1, 8).Draw(t, "layers"), rapid.IntRange(1, 40).Draw(t, "experts"))
		if rapid.Bool().Draw(t, "dense first") {
			layers[0].Experts = 0
		}
		a, err := Next(nil, "m", layers, workers(rapid.IntRange(1, 9).Draw(t, "before")))
		if err != nil {
			t.Fatalf("plan: %v", err)
		}
		b, err := Next(a, "m", layers, workers(rapid.IntRange(1, 9).Draw(t, "after")))
		if err != nil {
			t.Fatalf("replan: %v", err)
		}
		for _, p := range []*Plan{a, b} {
			checkOneCopy(t, p, layers)
			least, most := 1<<30, 0
			for _, n := range load(p) {
				least, most = min(least, n), max(most, n)
			}
			if most-least > 1 {
				t.Fatalf("uneven plan: %v", load(p))
			}
		}
		again, err := Next(b, "m", layers, workers(len(b.Workers)))
		if err != nil || again != b {
			t.Fatalf("same workers, new plan %v (%v)", again, err)
		}
		enc, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodePlan(enc)
		if err != nil || !samePlacement(b, back) || back.Epoch != b.Epoch {
			t.Fatalf("decode(encode) differs: %v", err)
		}
	})
}

// A joining worker receives its share and nothing else moves; a leaving one
// loses its share and nothing else moves.
func TestPlannerMovesLittle(t *testing.T) {
	layers := equalLayers(6, 16)
	two, err := Next(nil, "m", layers, workers(2))
	if err != nil {
		t.Fatal(err)
	}
	three, err := Next(two, "m", layers, workers(3))
	if err != nil {
		t.Fatal(err)
	}
	if n := moved(two, three); n != 32 {
		t.Errorf("2 → 3 workers moved %d experts of 96, want 32", n)
	}
	if three.Epoch != two.Epoch+1 {
		t.Errorf("epoch %d after %d", three.Epoch, two.Epoch)
	}
	back, err := Next(three, "m", layers, workers(2))
	if err != nil {
		t.Fatal(err)
	}
	if n := moved(three, back); n != 32 {
		t.Errorf("3 → 2 workers moved %d experts, want the 32 of the one that left", n)
	}
}

// At the size of DeepSeek-V3, workers that join and leave in turn move little
// more than their own share, and every plan is even.
func TestPlannerAtScale(t *testing.T) {
	layers := equalLayers(61, 256)
	for i := range 3 {
		layers[i].Experts = 0
	}
	const total = 58 * 256
	prev, err := Next(nil, "m", layers, workers(20))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{21, 20, 19, 20, 21, 22, 18, 20} {
		next, err := Next(prev, "m", layers, workers(n))
		if err != nil {
			t.Fatal(err)
		}
		checkOneCopy(t, next, layers)
		was := len(prev.Workers)
		needed := total * (max(n, was) - min(n, was)) / max(n, was)
		least, most := total, 0
		for _, l := range load(next) {
			least, most = min(least, l), max(most, l)
		}
		got := moved(prev, next)
		t.Logf("%d → %d workers: %d of %d experts move, %d must; %d to %d each", was, n, got, total, needed, least, most)
		if got > needed+needed/10 {
			t.Errorf("%d → %d workers: %d experts move, %d must", was, n, got, needed)
		}
		if most-least > 1 {
			t.Errorf("%d workers hold %d to %d experts", n, least, most)
		}
		prev = next
	}
}

// No worker ever gets more bytes than it takes, and if whole experts of one
// size fit, they are placed.
func TestPlannerCapacityProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		layers := equalLayers(rapid.IntRange(1, 6).Draw(t, "layers"), rapid.IntRange(1, 20).Draw(t, "experts"))
		mixed := rapid.Bool().Draw(t, "mixed sizes")
		for l := range layers {
			if mixed {
				layers[l].ExpertBytes = rapid.SampledFrom([]int64{50, 100, 250, 1000}).Draw(t, "expert bytes")
			}
		}
		ws := workers(rapid.IntRange(1, 6).Draw(t, "workers"))
		places, experts := 0, 0
		for _, l := range layers {
			experts += l.Experts
		}
		for i := range ws {
			ws[i].Bytes = rapid.Int64Range(0, max(100*int64(experts), totalBytes(layers))).Draw(t, "bytes")
			if ws[i].Bytes == 0 {
				places += experts
			}
			places += int(ws[i].Bytes / 100)
		}
		p, err := Next(nil, "m", layers, ws)
		if err != nil {
			var none *NoRoomError
			if !errors.As(err, &none) || none.Need != totalBytes(layers) || !mixed && places >= experts {
				t.Fatalf("%d experts, %d places: %v", experts, places, err)
			}
			return
		}
		checkOneCopy(t, p, layers)
		for i, w := range ws {
			var used int64
			for l := range layers {
				used += int64(p.Layers[l][i].Len()) * layers[l].ExpertBytes
			}
			if w.Bytes != 0 && used > w.Bytes {
				t.Fatalf("worker %d takes %d bytes and gets %d", i, w.Bytes, used)
			}
		}
	})
}

func TestPlannerRounding(t *testing.T) {
	ws := workers(2)
	ws[0].Bytes, ws[1].Bytes = 450, 3600 // 4 and 36 whole experts of 100 bytes
	p, err := Next(nil, "m", equalLayers(4, 10), ws)
	if err != nil {
		t.Fatal(err)
	}
	if got := load(p); got["w00"] != 4 || got["w01"] != 36 {
		t.Errorf("load %v, want 4 and 36", got)
	}
	ws[1].Bytes = 3590
	var none *NoRoomError
	if _, err := Next(nil, "m", equalLayers(4, 10), ws); !errors.As(err, &none) || none.Need != 4000 || none.Have != 4040 {
		t.Errorf("39 places for 40 experts: %v", err)
	} else if !strings.Contains(err.Error(), "whole experts") {
		t.Errorf("unclear: %v", err)
	}
	ws[0].Bytes, ws[1].Bytes = -5, 0
	if p, err := Next(nil, "m", equalLayers(4, 10), ws); err != nil || load(p)["w00"] != 0 {
		t.Errorf("negative capacity: %v, %v", p, err)
	}
}

func TestPlannerCapacity(t *testing.T) {
	layers := equalLayers(4, 10) // 4000 bytes
	ws := workers(3)
	ws[0].Bytes = 400
	p, err := Next(nil, "m", layers, ws)
	if err != nil {
		t.Fatal(err)
	}
	checkOneCopy(t, p, layers)
	if got := load(p); got["w00"] != 4 || got["w01"] != 18 || got["w02"] != 18 {
		t.Errorf("load %v, want 4, 18, 18", got)
	}
	for i := range ws {
		ws[i].Bytes = 1000
	}
	var none *NoRoomError
	if _, err := Next(nil, "m", layers, ws); !errors.As(err, &none) || none.Need != 4000 || none.Have != 3000 {
		t.Errorf("3000 bytes for 4000: %v", err)
	}
	if _, err := Next(nil, "m", layers, nil); !errors.As(err, &none) {
		t.Errorf("no workers: %v", err)
	}
}

func TestSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		in := map[int]bool{}
		for _, e := range rapid.SliceOf(rapid.IntRange(0, 300)).Draw(t, "experts") {
			s.Add(e)
			in[e] = true
		}
		back, err := ParseSet(s.String(), 301)
		if err != nil || back.String() != s.String() || back.Len() != len(in) {
			t.Fatalf("%q: %v", s, err)
		}
		if s.Minus(back).Len() != 0 {
			t.Fatal("s minus s is not empty")
		}
	})
	for _, bad := range []string{"-", "3-1", "1,,2", "x", "999", "0-99999999999999999999", "-1"} {
		if _, err := ParseSet(bad, 300); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestDecodePlanRefuses(t *testing.T) {
	for _, bad := range []string{
		`{`, `{"workers":["b","a"]}`, `{"workers":["a","a"]}`,
		`{"workers":["a","b"],"layers":[["0"]]}`, `{"workers":["a"],"layers":[["0-99999999"]]}`,
	} {
		if _, err := DecodePlan([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

package shard

import (
	"math"
	"testing"
)

func TestLoadOf(t *testing.T) {
	layers := []Layer{{}, {Experts: 2, ExpertBytes: 10}}
	one := &Report{Model: "m", Layers: []LayerLoad{{}, {
		Rows: []float32{2, 80}, Reads: []float32{2, 4},
	}}}
	data, err := one.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if one, err = DecodeReport(data); err != nil {
		t.Fatal(err)
	}
	other := &Report{Model: "other", Layers: one.Layers}
	short := &Report{Model: "m", Layers: one.Layers[1:]}
	nan := &Report{Model: "m", Layers: []LayerLoad{{}, {
		Rows: []float32{1, 1}, Reads: []float32{1, float32(math.NaN())},
	}}}
	got := LoadOf("m", layers, []*Report{one, other, short, nan, one})
	if len(got[0]) != 0 || got[1][0] != 4 || got[1][1] != 40 {
		t.Fatalf("load %v, want nothing and [4 40]", got)
	}
}

func TestDecodeReportRefuses(t *testing.T) {
	for _, text := range []string{"", "[]", `{"speeds":{"w":-1}}`} {
		if _, err := DecodeReport([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

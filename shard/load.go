package shard

import (
	"encoding/json"
	"fmt"
	"math"
)

// Report is what one coordinator has measured of its experts and workers lately.
type Report struct {
	// Model is the fingerprint of the checkpoint.
	Model string `json:"model"`
	// Layers has an entry for each layer of the model, empty for dense ones.
	Layers []LayerLoad `json:"layers"`
	// Speeds are the bytes of experts that workers work through in a second of
	// computing; workers that have not been measured are left out.
	Speeds map[WorkerID]float64 `json:"speeds,omitempty"`
}

// LayerLoad is how often the experts of a layer are wanted, by expert.
type LayerLoad struct {
	// Rows are token rows in a second, Reads layers of steps in a second that want
	// the expert: each reads its weights once, for however many rows, or once for each
	// replica that shares them.
	Rows  []float32 `json:"rows,omitempty"`
	Reads []float32 `json:"reads,omitempty"`
}

// Load is by layer and expert how many times in a second the expert's weights
// are read, or as many times as computing its rows takes as long as reading.
type Load [][]float64

// RowsPerRead is how many rows of an expert are computed in the time that
// reading its weights takes: 16 rows take four to five times one row
// (docs/performance.md).
const RowsPerRead = 4

// LoadOf adds up the reports on a model of the given layers. Reports on other
// models, or that do not fit the layers, do not count.
func LoadOf(model string, layers []Layer, reports []*Report) Load {
	load := make(Load, len(layers))
	for l := range layers {
		load[l] = make([]float64, layers[l].Experts)
	}
	for _, r := range reports {
		if r.Model != model || r.check(layers) != nil {
			continue
		}
		for l, layer := range r.Layers {
			for e := range layer.Reads {
				load[l][e] += math.Max(float64(layer.Reads[e]), float64(layer.Rows[e])/RowsPerRead)
			}
		}
	}
	return load
}

// check holds a report to the layers of a model.
func (r *Report) check(layers []Layer) error {
	if len(r.Layers) != len(layers) {
		return fmt.Errorf("load report has %d layers, the model has %d", len(r.Layers), len(layers))
	}
	for l, layer := range r.Layers {
		if len(layer.Rows) != layers[l].Experts || len(layer.Reads) != layers[l].Experts {
			return fmt.Errorf("load report has %d and %d experts in layer %d, the model has %d",
				len(layer.Rows), len(layer.Reads), l, layers[l].Experts)
		}
		for e := range layer.Reads {
			if bad(float64(layer.Reads[e])) || bad(float64(layer.Rows[e])) {
				return fmt.Errorf("load report: expert %d of layer %d has %v rows in %v reads",
					e, l, layer.Rows[e], layer.Reads[e])
			}
		}
	}
	return nil
}

// bad reports whether v is no rate.
func bad(v float64) bool { return !(v >= 0) || math.IsInf(v, 1) }

// DecodeReport reads what Encode writes. LoadOf holds it to a model.
func DecodeReport(data []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("decode load report: %w", err)
	}
	for w, v := range r.Speeds {
		if bad(v) {
			return nil, fmt.Errorf("decode load report: worker %s has speed %v", w, v)
		}
	}
	return &r, nil
}

// Encode writes the report as DecodeReport reads it.
func (r *Report) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode load report: %w", err)
	}
	return data, nil
}

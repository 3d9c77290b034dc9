package roofs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/conclave-serve/conclave/internal/bench"
)

func TestWriteFile(t *testing.T) {
	full := &bench.KernelsReport{
		Shape:    bench.DefaultShape(),
		Ceilings: []bench.Ceiling{{Threads: 1, Read: 20e9, Peak: 1e11}, {Threads: 2, Read: 4e10, Peak: 2e11}},
		Results: []bench.Result{
			{Kernel: "matmul", Format: "BF16", Threads: 1, Operations: 4, Bytes: 2, Flops: 1e10},
			{Kernel: "attention", Format: "I8", Threads: 2, Operations: 9, Bytes: 1, Flops: 3e10},
			{Kernel: "softmax", Format: "F32", Threads: 1, Operations: 9, Bytes: 1, Flops: 1e6, Cached: true},
		},
	}
	for name, r := range map[string]*bench.KernelsReport{
		"full.svg": full, "full.png": full, "empty.svg": {}, "ceilings.svg": {Ceilings: full.Ceilings},
		"zero.svg": {Ceilings: make([]bench.Ceiling, 1)},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := WriteFile(path, r); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
		if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("+Inf")) {
			t.Errorf("%s draws what is no number", name)
		}
		if name == "full.svg" && (!bytes.Contains(data, []byte("2 threads: 40 GB/s")) ||
			!bytes.Contains(data, []byte(">BF16<"))) {
			t.Errorf("the picture lacks its ceilings or formats:\n%s", data)
		}
	}
	if err := WriteFile("run.pdf", full); err == nil {
		t.Error("a .pdf can be written")
	}
}

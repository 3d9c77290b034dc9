package kvcache

import (
	"fmt"

	"github.com/conclave-serve/conclave/kernels"
)

// ParseFormat reads the name of what numbers are stored as, as flags spell it.
func ParseFormat(name string) (kernels.Format, error) {
	for _, f := range []kernels.Format{kernels.F32, kernels.BF16, kernels.I8} {
		if FormatName(f) == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("kv cache format %q is unknown: want f32, bf16 or int8", name)
}

// FormatName returns the name that ParseFormat reads, "" if no cache stores f.
func FormatName(f kernels.Format) string {
	switch f {
	case kernels.F32:
		return "f32"
	case kernels.BF16:
		return "bf16"
	case kernels.I8:
		return "int8"
	}
	return ""
}

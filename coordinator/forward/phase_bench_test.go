package forward

import "testing"

// BenchmarkClock is what the phases of a layer cost, without anybody who listens and with: five
// of them, in a step of microseconds to seconds.
func BenchmarkClock(b *testing.B) {
	var heard int
	for name, clock := range map[string]func(Phase){"off": nil, "on": func(Phase) { heard++ }} {
		b.Run(name, func(b *testing.B) {
			m := &Model{Clock: clock}
			b.ReportAllocs()
			for b.Loop() {
				for p := range Phase(5) {
					m.over(p)
				}
			}
		})
	}
}

package chart

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// decades ticks a logarithmic axis, labelled at 1, 2 and 5 times the powers of ten, or at these
// alone if there are many.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	few := high/low < 1000
	for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
		for m := 1.0; m < 10; m++ {
			v := m * power
			if v < low || v > high {
				continue
			}
			t := plot.Tick{Value: v}
			if m == 1 || few && (m == 2 || m == 5) {
				t.Label = number(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// evenly ticks a linear axis at multiples of 1, 2 or 5 times a power of ten.
type evenly struct{}

// mostTicks is how many labels an axis has at most.
const mostTicks = 7

// Ticks implements plot.Ticker.
func (evenly) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/mostTicks)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (high-low)/(m*step) <= mostTicks {
			step *= m
			break
		}
	}
	var ticks []plot.Tick
	for k := math.Ceil(low / step); k*step <= high; k++ {
		ticks = append(ticks, plot.Tick{Value: k * step, Label: number(k * step)})
	}
	return ticks
}

// number writes a tick's value, without what floating point adds to it.
func number(v float64) string {
	return strconv.FormatFloat(math.Round(v*1e9)/1e9, 'g', 12, 64)
}

package roofs

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/conclave-serve/conclave/internal/bench"
	"github.com/conclave-serve/conclave/internal/loadgen/chart"
)

// Colours of formats, in the order in which they come in a report; they repeat.
var hues = []color.Color{
	color.RGBA{R: 31, G: 97, B: 170, A: 255}, color.RGBA{R: 204, G: 85, A: 255},
	color.RGBA{R: 34, G: 136, B: 51, A: 255}, color.RGBA{R: 136, G: 51, B: 136, A: 255},
	color.RGBA{R: 170, G: 136, A: 255}, color.RGBA{R: 51, G: 153, B: 170, A: 255},
}

// WriteFile draws a report into a .svg or .png file.
func WriteFile(path string, r *bench.KernelsReport) error {
	return chart.Save(path, func(c draw.Canvas) { paint(c, r) })
}

// paint draws a panel for each number of threads, side by side, with the same axes.
func paint(c draw.Canvas, r *bench.KernelsReport) {
	c = chart.Frame(c, "Kernels against the machine's ceilings: "+r.Shape.Name, fmt.Sprintf(
		"experts of %d×%d, %s, best of several runs by turns; filled: products, hollow: attention",
		r.Shape.Width, r.Shape.Hidden, r.Features))
	if len(r.Ceilings) == 0 {
		return
	}
	low, high := limits(r)
	row := make([]*plot.Plot, len(r.Ceilings))
	for i := range r.Ceilings {
		row[i] = panel(r, &r.Ceilings[i], low, high)
	}
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: 0.9 * vg.Centimeter}
	for i, canvas := range plot.Align([][]*plot.Plot{row}, tiles, c)[0] {
		row[i].Draw(canvas)
	}
}

// drawn reports whether a result has a place in the picture.
func drawn(k *bench.Result) bool {
	return !k.Cached && k.Bytes > 0 && k.Flops > 0
}

// limits returns the corners of all panels: intensity, and 10^9 operations a second.
func limits(r *bench.KernelsReport) (low, high plotter.XY) {
	low, high = plotter.XY{X: 0.25, Y: math.Inf(1)}, plotter.XY{X: 64, Y: 1}
	for _, c := range r.Ceilings {
		high.Y = max(high.Y, 2*c.Peak/1e9)
		low.Y = min(low.Y, low.X*c.Read/1e9)
	}
	for i := range r.Results {
		if k := &r.Results[i]; drawn(k) {
			high.X = max(high.X, 2*k.Operations/k.Bytes)
			low.Y = min(low.Y, k.Flops/1e9)
		}
	}
	low.Y = max(low.Y/2, high.Y/1e6)
	return low, high
}

func panel(r *bench.KernelsReport, c *bench.Ceiling, low, high plotter.XY) *plot.Plot {
	title := "one thread"
	if c.Threads != 1 {
		title = fmt.Sprintf("%d threads", c.Threads)
	}
	p := chart.Panel(title, "operations for a byte of weights or cache", "GFLOP/s")
	chart.Logarithmic(&p.X, low.X, high.X)
	chart.Logarithmic(&p.Y, low.Y, high.Y)
	p.Legend.Top, p.Legend.Left = false, false
	p.Legend.TextStyle.Font.Variant, p.Legend.TextStyle.Font.Size = "Sans", 9
	p.Legend.Padding = 2
	if c.Read > 0 && c.Peak > 0 {
		corner := c.Peak / c.Read
		p.Add(&plotter.Line{
			XYs: plotter.XYs{
				{X: low.X, Y: low.X * c.Read / 1e9}, {X: corner, Y: c.Peak / 1e9},
				{X: max(high.X, corner), Y: c.Peak / 1e9},
			},
			LineStyle: draw.LineStyle{Color: color.Gray{40}, Width: vg.Points(1.4)},
		})
		title += fmt.Sprintf(": %.3g GB/s, %.3g GFLOP/s", c.Read/1e9, c.Peak/1e9)
		p.Title.Text = title
	}
	var formats []string
	for i := range r.Results {
		if k := &r.Results[i]; drawn(k) && !slices.Contains(formats, k.Format) {
			formats = append(formats, k.Format)
		}
	}
	for i, f := range formats {
		hue := hues[i%len(hues)]
		products := marks(r, c.Threads, f, false, draw.GlyphStyle{
			Color: hue, Radius: vg.Points(3), Shape: draw.CircleGlyph{},
		})
		others := marks(r, c.Threads, f, true, draw.GlyphStyle{
			Color: hue, Radius: vg.Points(3.6), Shape: draw.RingGlyph{},
		})
		p.Add(products, others)
		p.Legend.Add(f, products)
	}
	return p
}

// marks are the results of a format: of products and whole experts, or of what is neither.
func marks(
	r *bench.KernelsReport, threads int, format string, others bool, style draw.GlyphStyle,
) *plotter.Scatter {
	s := &plotter.Scatter{GlyphStyle: style}
	for i := range r.Results {
		k := &r.Results[i]
		if !drawn(k) || k.Format != format || k.Threads != threads ||
			others != (k.Kernel != "matmul" && k.Kernel != "experts") {
			continue
		}
		s.XYs = append(s.XYs, plotter.XY{X: k.Operations / k.Bytes, Y: k.Flops / 1e9})
	}
	return s
}

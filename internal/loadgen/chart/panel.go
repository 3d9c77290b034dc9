package chart

import (
	"fmt"
	"image/color"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/conclave-serve/conclave/internal/loadgen"
)

// Colours: a blue that also reads in grey, and shades of grey.
var (
	white = color.Gray{255}
	ink   = color.Gray{40}
	faint = color.Gray{225}
	blue  = color.RGBA{R: 31, G: 97, B: 170, A: 255}
	pale  = color.RGBA{R: 204, G: 221, B: 240, A: 255}
)

// textStyle is plain text of a size in points.
func textStyle(size vg.Length) text.Style {
	style := plot.New().Title.TextStyle
	style.Font.Variant, style.Font.Size, style.Color = "Sans", size, ink
	style.XAlign, style.YAlign = draw.XLeft, draw.YBottom
	return style
}

// Panel returns an empty plot in the house's look.
func Panel(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = white
	p.Title.Text, p.Title.Padding = title, 0.2*vg.Centimeter
	p.Title.TextStyle.Font.Variant, p.Title.TextStyle.Font.Size = "Sans", 11
	p.Title.TextStyle.Color = ink
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Variant, axis.Label.TextStyle.Font.Size = "Sans", 9
		axis.Tick.Label.Font.Variant, axis.Tick.Label.Font.Size = "Sans", 9
		axis.Label.TextStyle.Color, axis.Tick.Label.Color = ink, ink
		axis.Color, axis.Tick.Color = ink, ink
		axis.Padding, axis.Tick.Marker = 0, evenly{}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	p.Add(grid)
	return p
}

// maxSteps bounds the points of a curve: more than a picture has pixels.
const maxSteps = 2000

// rare is the share of values, one in so many, that may lie left of the picture: gaps between
// events that came in one packet are of microseconds, and would take half of it.
const rare = 100

// wide is the ratio of the largest to the smallest value from which an axis is logarithmic.
const wide = 30

// cumulative draws which share of the values is at most x, and marks percentiles.
func cumulative(title, x, y string, s *loadgen.Summary, values []float64) *plot.Plot {
	p := Panel(title, x, y)
	p.Y.Min, p.Y.Max = 0, 100
	p.Y.Tick.Marker = plot.ConstantTicks{
		{Value: 0, Label: "0"}, {Value: 25, Label: "25"}, {Value: 50, Label: "50"},
		{Value: 75, Label: "75"}, {Value: 90, Label: "90"}, {Value: 100, Label: "100"},
	}
	if s == nil {
		return empty(p)
	}
	slices.Sort(values)
	low, high := values[len(values)/rare], values[len(values)-1]
	// The curve is the inverse of the percentiles, which lie on it.
	curve := plotter.XYs{{X: low, Y: 0}}
	for i := 0; i < len(values)-1; i += max(len(values)/maxSteps, 1) {
		curve = append(curve, plotter.XY{
			X: max(values[i], low), Y: 100 * float64(i) / float64(len(values)-1),
		})
	}
	addLine(p, append(curve, plotter.XY{X: high, Y: 100}), 1.6)
	marks := plotter.XYLabels{}
	for _, m := range []struct {
		name  string
		x, at float64
	}{{"p50", s.P50, 50}, {"p90", s.P90, 90}, {"p99", s.P99, 99}} {
		marks.XYs = append(marks.XYs, plotter.XY{X: max(m.x, low), Y: m.at})
		marks.Labels = append(marks.Labels, fmt.Sprintf("%s %s", m.name, short(m.x)))
	}
	addMarks(p, marks)
	scale(&p.X, low, high)
	return p
}

// Logarithmic makes an axis one of powers of ten.
func Logarithmic(axis *plot.Axis, low, high float64) {
	axis.Scale, axis.Tick.Marker = plot.LogScale{}, decades{}
	axis.Min, axis.Max = low, high
}

// scale gives an axis room on both sides of its values.
func scale(axis *plot.Axis, low, high float64) {
	if low > 0 && high/low > wide {
		Logarithmic(axis, low/1.15, high*1.6)
		return
	}
	room := max(high-low, high/50, 1e-3)
	axis.Min, axis.Max = max(low-0.05*room, 0), high+0.2*room
}

func addLine(p *plot.Plot, points plotter.XYs, thickness float64) {
	style := draw.LineStyle{Color: blue, Width: vg.Points(thickness)}
	p.Add(&plotter.Line{XYs: points, LineStyle: style})
}

// addMarks sets dots on a curve, with words on their lower right, where a cumulative curve is not.
func addMarks(p *plot.Plot, marks plotter.XYLabels) {
	dots := &plotter.Scatter{XYs: marks.XYs, GlyphStyle: draw.GlyphStyle{
		Color: blue, Radius: vg.Points(2.8), Shape: draw.CircleGlyph{},
	}}
	labels, err := plotter.NewLabels(marks)
	if err != nil { // a value that is no number, which a summary never has
		return
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i] = textStyle(9)
		labels.TextStyle[i].YAlign = draw.YTop
	}
	labels.Offset = vg.Point{X: vg.Points(4), Y: vg.Points(-1)}
	p.Add(dots, labels)
}

// empty says in a panel that there is nothing to draw.
func empty(p *plot.Plot) *plot.Plot {
	p.X.Min, p.X.Max = 0, 1
	labels, err := plotter.NewLabels(plotter.XYLabels{
		XYs: plotter.XYs{{X: 0.4, Y: (p.Y.Min + p.Y.Max) / 2}}, Labels: []string{"no values"},
	})
	if err == nil { // its numbers are constants
		labels.TextStyle[0] = textStyle(10)
		p.Add(labels)
	}
	return p
}

// overTime draws one thing of each interval as an area.
func overTime(r *loadgen.Report, title string, of func(loadgen.Point) float64) *plot.Plot {
	p := Panel(title, "time, s", "")
	p.Y.Min, p.Y.Max = 0, 1
	interval := intervalOf(r.Seconds)
	series := r.Series(interval)
	if len(series) == 0 {
		return empty(p)
	}
	steps := plotter.XYs{}
	most := 0.0
	for i, point := range series {
		from := (time.Duration(i) * interval).Seconds()
		to := min(from+interval.Seconds(), r.Seconds)
		y := of(point)
		steps = append(steps, plotter.XY{X: from, Y: y}, plotter.XY{X: to, Y: y})
		most = max(most, y)
	}
	area := append(plotter.XYs{{X: 0, Y: 0}}, steps...)
	area = append(area, plotter.XY{X: r.Seconds, Y: 0})
	p.Add(&plotter.Polygon{XYs: []plotter.XYs{area}, Color: pale})
	addLine(p, steps, 1.2)
	p.X.Min, p.X.Max, p.Y.Max = 0, r.Seconds, max(most*1.1, 1)
	return p
}

// intervalOf divides a run into 40 to 100 intervals of a round length.
func intervalOf(length float64) time.Duration {
	for unit := time.Millisecond; ; unit *= 10 {
		for _, interval := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if length/interval.Seconds() <= 100 || interval > 24*time.Hour {
				return interval
			}
		}
	}
}

func tokens(p loadgen.Point) float64  { return p.Tokens }
func running(p loadgen.Point) float64 { return p.Running }

func firstTokens(r *loadgen.Report) (ms []float64) {
	for i := range r.Records {
		if first, ok := r.Records[i].TTFT(); ok && r.Records[i].Finished() {
			ms = append(ms, float64(first)/float64(time.Millisecond))
		}
	}
	return ms
}

func gaps(r *loadgen.Report) (ms []float64) {
	for i := range r.Records {
		if r.Records[i].Finished() {
			ms = append(ms, r.Records[i].Gaps()...)
		}
	}
	return ms
}

// short writes a number with three digits that matter.
func short(x float64) string {
	if x >= 1000 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

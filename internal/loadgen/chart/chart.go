package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/conclave-serve/conclave/internal/loadgen"
)

// Size of the picture, and pixels per inch of a PNG.
const (
	width  = 28 * vg.Centimeter
	height = 18 * vg.Centimeter
	dpi    = 120
)

// CheckPath says what is wrong with the name of a picture, before the run that it is of: it ends
// with .svg or .png, in a folder that exists.
func CheckPath(path string) error {
	if ext := extension(path); ext != ".svg" && ext != ".png" {
		return fmt.Errorf("draw into %s: want a name that ends with .svg or .png", path)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("draw into %s: %w", path, err)
	}
	return nil
}

func extension(path string) string { return strings.ToLower(filepath.Ext(path)) }

// WriteFile draws a report into a file, whose name says in which format.
func WriteFile(path string, r *loadgen.Report) error {
	return Save(path, func(c draw.Canvas) { drawReport(c, r) })
}

// Save makes a picture of what paint draws: CheckPath has what the name may be.
func Save(path string, paint func(draw.Canvas)) (err error) {
	if err := CheckPath(path); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if extension(path) == ".png" {
		return savePNG(f, paint)
	}
	return saveSVG(f, paint)
}

// WriteSVG draws a report as SVG.
func WriteSVG(w io.Writer, r *loadgen.Report) error {
	return saveSVG(w, func(c draw.Canvas) { drawReport(c, r) })
}

// WritePNG draws a report as PNG.
func WritePNG(w io.Writer, r *loadgen.Report) error {
	return savePNG(w, func(c draw.Canvas) { drawReport(c, r) })
}

func saveSVG(w io.Writer, paint func(draw.Canvas)) error {
	c := vgsvg.New(width, height)
	paint(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	// Whoever has no such font takes one as wide, not the serifs that browsers begin with.
	text := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	_, err := w.Write(text)
	return err
}

func savePNG(w io.Writer, paint func(draw.Canvas)) error {
	c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))}
	paint(draw.New(c))
	_, err := c.WriteTo(w)
	return err
}

// Frame clears a canvas, writes a title of two lines and returns what is left below it.
func Frame(c draw.Canvas, title, below string) draw.Canvas {
	c.SetColor(white)
	c.Fill(c.Path())
	const margin = 0.4 * vg.Centimeter
	c = draw.Crop(c, margin, -margin, margin, -margin)
	big, small := textStyle(13), textStyle(9.5)
	big.YAlign, small.YAlign = draw.YTop, draw.YTop
	c.FillText(big, vg.Point{X: c.Min.X, Y: c.Max.Y}, title)
	c.FillText(small, vg.Point{X: c.Min.X, Y: c.Max.Y - 0.65*vg.Centimeter}, below)
	return draw.Crop(c, 0, 0, 0, -1.5*vg.Centimeter)
}

// drawReport draws four panels under a title of two lines.
func drawReport(c draw.Canvas, r *loadgen.Report) {
	t := r.Throughput
	c = Frame(c, r.Target.Model+", "+r.Load.Describe(), fmt.Sprintf(
		"%d requests finished, %d failed in %.1f s: %.4g requests/s, %.4g output tokens/s, "+
			"%.4g tokens/s in all", r.Requests.Finished, r.Requests.Failed, r.Seconds, t.Requests,
		t.OutputTokens, t.TotalTokens))
	panels := [][]*plot.Plot{
		{
			cumulative("time to first token", "first token after, ms", "requests, %",
				r.TTFT, firstTokens(r)),
			cumulative("between tokens", "gap, ms", "gaps, %", r.ITL, gaps(r)),
		},
		{
			overTime(r, "output tokens per second", tokens),
			overTime(r, "running requests", running),
		},
	}
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: 0.9 * vg.Centimeter, PadY: 0.7 * vg.Centimeter}
	canvases := plot.Align(panels, tiles, c)
	for i, row := range panels {
		for k, p := range row {
			p.Draw(canvases[i][k])
		}
	}
}

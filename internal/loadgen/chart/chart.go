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
func WriteFile(path string, r *loadgen.Report) (err error) {
	if err := CheckPath(path); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if extension(path) == ".png" {
		return WritePNG(f, r)
	}
	return WriteSVG(f, r)
}

// WriteSVG draws a report as SVG.
func WriteSVG(w io.Writer, r *loadgen.Report) error {
	c := vgsvg.New(width, height)
	drawReport(draw.New(c), r)
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

// WritePNG draws a report as PNG.
func WritePNG(w io.Writer, r *loadgen.Report) error {
	c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))}
	drawReport(draw.New(c), r)
	_, err := c.WriteTo(w)
	return err
}

// drawReport draws four panels under a title of two lines.
func drawReport(c draw.Canvas, r *loadgen.Report) {
	c.SetColor(white)
	c.Fill(c.Path())
	const margin = 0.4 * vg.Centimeter
	c = draw.Crop(c, margin, -margin, margin, -margin)
	head := writeTitle(c, r)
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
	tiles := draw.Tiles{
		Rows: 2, Cols: 2, PadX: 0.9 * vg.Centimeter, PadY: 0.7 * vg.Centimeter,
		PadTop: head,
	}
	canvases := plot.Align(panels, tiles, c)
	for i, row := range panels {
		for k, p := range row {
			p.Draw(canvases[i][k])
		}
	}
}

// writeTitle writes what was measured at the top of the canvas and returns the height it took.
func writeTitle(c draw.Canvas, r *loadgen.Report) vg.Length {
	big, small := textStyle(13), textStyle(9.5)
	big.YAlign, small.YAlign = draw.YTop, draw.YTop
	t := r.Throughput
	c.FillText(big, vg.Point{X: c.Min.X, Y: c.Max.Y}, r.Target.Model+", "+r.Load.Describe())
	c.FillText(small, vg.Point{X: c.Min.X, Y: c.Max.Y - 0.65*vg.Centimeter}, fmt.Sprintf(
		"%d requests finished, %d failed in %.1f s: %.4g requests/s, %.4g output tokens/s, "+
			"%.4g tokens/s in all", r.Requests.Finished, r.Requests.Failed, r.Seconds, t.Requests,
		t.OutputTokens, t.TotalTokens))
	return 1.5 * vg.Centimeter
}

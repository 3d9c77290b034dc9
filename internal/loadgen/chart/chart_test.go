package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"

	"github.com/conclave-serve/conclave/internal/loadgen"
)

const ms = float64(time.Millisecond)

// report is of 40 requests, each of ten events, of which every fifth failed.
func report() *loadgen.Report {
	r := &loadgen.Report{Seconds: 4.2, Target: loadgen.Target{Model: "deep & <wide>"}}
	for i := range 40 {
		k := loadgen.Record{Sent: time.Duration(float64(i) * 100 * ms), OutputTokens: 10}
		for e := range 10 {
			k.Events = append(k.Events, time.Duration((20+float64(i%7)+float64(e*e))*ms))
		}
		k.End = k.Events[9]
		if i%5 == 0 {
			k.Failure = &loadgen.Failure{Kind: "stream"}
		}
		r.Records = append(r.Records, k)
	}
	r.Requests = loadgen.Counts{Sent: 40, Finished: 32, Failed: 8}
	r.TTFT = &loadgen.Summary{Count: 32, P50: 23, P90: 26, P99: 26}
	r.ITL = &loadgen.Summary{Count: 288, P50: 9, P90: 17, P99: 17}
	return r
}

// texts returns the words of an SVG, which must be XML.
func texts(t *testing.T, svg []byte) string {
	t.Helper()
	var all strings.Builder
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := token.(xml.CharData); ok {
			all.WriteString(string(data) + "\n")
		}
	}
}

func TestSVG(t *testing.T) {
	var first, second bytes.Buffer
	if err := errors.Join(WriteSVG(&first, report()), WriteSVG(&second, report())); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two pictures of one report differ")
	}
	words := texts(t, first.Bytes())
	for _, want := range []string{
		"deep & <wide>", "32 requests finished, 8 failed", "time to first token", "between tokens",
		"output tokens per second", "running requests", "p50 23", "p90 26", "p99 17", "time, s",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the picture lacks %q; it says\n%s", want, words)
		}
	}
}

func TestPNG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.PNG")
	if err := WriteFile(path, report()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if b := picture.Bounds(); b.Dx() < 1200 || b.Dy() < 800 {
		t.Errorf("%v pixels", b)
	}
	colours := map[[3]uint32]int{}
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	if colours[[3]uint32{31, 97, 170}] < 1000 || colours[[3]uint32{204, 221, 240}] < 1000 {
		t.Error("there are no curves and areas")
	}
}

// TestAnything: reports that have next to nothing can be drawn.
func TestAnything(t *testing.T) {
	one := loadgen.Record{Events: []time.Duration{0}, OutputTokens: 1}
	same := loadgen.Record{Events: []time.Duration{5e6, 6e6, 7e6}, End: 7e6, OutputTokens: 3}
	zero := &loadgen.Summary{Count: 1}
	for name, r := range map[string]*loadgen.Report{
		"nothing":            {},
		"an instant":         {Seconds: 1e-9, TTFT: zero, Records: []loadgen.Record{one}},
		"equal values":       {Seconds: 0.007, TTFT: zero, ITL: zero, Records: []loadgen.Record{same, same}},
		"a very long run":    {Seconds: 3e7},
		"from µs to minutes": {Seconds: 90, ITL: zero, Records: []loadgen.Record{{Events: []time.Duration{0, 1e3, 60e9}}}},
	} {
		var svg, png bytes.Buffer
		if err := errors.Join(WriteSVG(&svg, r), WritePNG(&png, r)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if words := texts(t, svg.Bytes()); strings.Contains(words, "NaN") || strings.Contains(words, "Inf") {
			t.Errorf("%s: the picture says\n%s", name, words)
		}
	}
}

func TestCheckPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"run.svg": "", filepath.Join(dir, "run.png"): "", "run.pdf": "ends with .svg or .png", "svg": "ends with",
		filepath.Join(dir, "no", "run.svg"): "no such file", filepath.Join(file, "run.svg"): "file",
	} {
		err := CheckPath(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}

// TestTicks: labels are few, round, and within the axis.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		marker    plot.Ticker
		low, high float64
		want      string
	}{
		{evenly{}, 0, 8.3, "0 2 4 6 8"},
		{evenly{}, 0, 1, "0 0.2 0.4 0.6 0.8 1"},
		{evenly{}, 10.1, 10.4, "10.1 10.15 10.2 10.25 10.3 10.35 10.4"},
		{evenly{}, 0, 123456, "0 20000 40000 60000 80000 100000 120000"},
		{decades{}, 3, 90, "5 10 20 50"},
		{decades{}, 0.005, 700, "0.01 0.1 1 10 100"},
	} {
		var labels []string
		for _, tick := range c.marker.Ticks(c.low, c.high) {
			if tick.Value < c.low*0.999 || tick.Value > c.high*1.001 || math.IsNaN(tick.Value) {
				t.Errorf("%v to %v: a tick at %v", c.low, c.high, tick.Value)
			}
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.low, c.high, got, c.want)
		}
	}
}

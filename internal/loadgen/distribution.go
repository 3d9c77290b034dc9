package loadgen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// maxLength bounds a prompt or an answer, in tokens: longer than any model's context.
const maxLength = 1 << 20

// Distribution says how many tokens a prompt or an answer has. The zero value is not one: parse it
// from a text.
//
//	128                   always 128
//	uniform:64-512        evenly from 64 to 512, both included
//	normal:256,64         mean and standard deviation
//	lognormal:256,0.8     median, and standard deviation of the logarithm
//	zipf:2048,1.2         1 to 2048, n in proportion to n^-1.2; the exponent is above 1
//
// What is drawn is rounded, and lies between 1 and a million.
type Distribution struct {
	kind string // "" for a constant
	a, b float64
}

// Constant returns the distribution that is always n.
func Constant(n int) Distribution { return Distribution{a: float64(n)} }

// ParseDistribution reads a distribution in one of the forms above.
func ParseDistribution(text string) (Distribution, error) {
	kind, rest, found := strings.Cut(text, ":")
	if !found {
		kind, rest = "", text
	}
	separator, ok := map[string]string{
		"": "", "uniform": "-", "normal": ",", "lognormal": ",", "zipf": ",",
	}[kind]
	if !ok || found && kind == "" {
		return Distribution{}, fmt.Errorf("%q: no distribution is called %q; there are a plain number, "+
			"uniform:LOW-HIGH, normal:MEAN,SD, lognormal:MEDIAN,SIGMA and zipf:MAX,EXPONENT", text, kind)
	}
	first, second, pair := rest, "", false
	if separator != "" {
		if first, second, pair = strings.Cut(rest, separator); !pair {
			return Distribution{}, fmt.Errorf("%q: want two numbers with %q between them", text, separator)
		}
	}
	d := Distribution{kind: kind}
	var err error
	if d.a, err = strconv.ParseFloat(first, 64); err != nil {
		return Distribution{}, fmt.Errorf("%q: %q is no number", text, first)
	}
	if pair {
		if d.b, err = strconv.ParseFloat(second, 64); err != nil {
			return Distribution{}, fmt.Errorf("%q: %q is no number", text, second)
		}
	}
	if err := d.validate(); err != nil {
		return Distribution{}, fmt.Errorf("%q: %w", text, err)
	}
	return d, nil
}

func (d Distribution) validate() error {
	if !(d.a >= 1 && d.a <= maxLength) {
		return fmt.Errorf("lengths are 1 to %d tokens", maxLength)
	}
	whole := d.kind == "" || d.kind == "uniform" || d.kind == "zipf"
	if whole && d.a != math.Trunc(d.a) || d.kind == "uniform" && d.b != math.Trunc(d.b) {
		return fmt.Errorf("a number of tokens is whole")
	}
	switch d.kind {
	case "uniform":
		if !(d.b >= d.a && d.b <= maxLength) {
			return fmt.Errorf("want a higher number after a lower one, up to %d", maxLength)
		}
	case "normal":
		if !(d.b >= 0 && d.b <= maxLength) {
			return fmt.Errorf("want a standard deviation of 0 to %d", maxLength)
		}
	case "lognormal":
		if !(d.b >= 0 && d.b <= 10) {
			return fmt.Errorf("want a standard deviation of the logarithm of 0 to 10")
		}
	case "zipf":
		if !(d.b > 1 && d.b <= 100) {
			return fmt.Errorf("want an exponent above 1, at most 100")
		}
	}
	return nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Distribution) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDistribution(string(text))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Distribution) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns what ParseDistribution reads.
func (d Distribution) String() string {
	a, b := strconv.FormatFloat(d.a, 'g', -1, 64), strconv.FormatFloat(d.b, 'g', -1, 64)
	switch d.kind {
	case "":
		return a
	case "uniform":
		return "uniform:" + a + "-" + b
	}
	return d.kind + ":" + a + "," + b
}

// sample draws a number of tokens.
func (d Distribution) sample(r *rand.Rand) int {
	x := d.a
	switch d.kind {
	case "uniform":
		return int(d.a) + r.IntN(int(d.b-d.a)+1)
	case "normal":
		x = d.a + d.b*r.NormFloat64()
	case "lognormal":
		x = d.a * math.Exp(d.b*r.NormFloat64())
	case "zipf":
		return 1 + int(rand.NewZipf(r, d.b, 1, uint64(d.a)-1).Uint64())
	}
	return int(math.Round(min(max(x, 1), maxLength)))
}

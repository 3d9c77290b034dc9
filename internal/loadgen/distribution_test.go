package loadgen

import (
	"math"
	"math/rand/v2"
	"testing"
)

const draws = 20_000

// TestDistributions compares what is drawn, by a fixed seed, with what is known of each
// distribution; five standard errors are allowed.
func TestDistributions(t *testing.T) {
	for _, c := range []struct {
		text     string
		mean, sd float64
		low      int
		high     int
	}{
		{"128", 128, 0, 128, 128},
		{"uniform:64-512", 288, math.Sqrt((449*449 - 1) / 12.0), 64, 512},
		{"uniform:7-7", 7, 0, 7, 7},
		{"normal:256,64", 256, 64, 1, 600},
		{"normal:100,0", 100, 0, 100, 100},
		// The mean of a lognormal is median × exp(σ²/2), its deviation mean × √(exp(σ²)−1).
		{"lognormal:200,0.5", 200 * math.Exp(0.125), 200 * math.Exp(0.125) * math.Sqrt(math.Exp(0.25)-1), 1, 5000},
	} {
		d, err := ParseDistribution(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if d.String() != c.text {
			t.Errorf("%s is written as %s", c.text, d)
		}
		r := rand.New(rand.NewPCG(1, 2))
		sum, squares := 0.0, 0.0
		for range draws {
			n := d.sample(r)
			if n < c.low || n > c.high {
				t.Fatalf("%s: drew %d", c.text, n)
			}
			sum += float64(n)
			squares += float64(n) * float64(n)
		}
		mean := sum / draws
		sd := math.Sqrt(max(squares/draws-mean*mean, 0))
		if math.Abs(mean-c.mean) > 5*c.sd/math.Sqrt(draws)+1e-9 || math.Abs(sd-c.sd) > 0.05*c.sd+0.5 {
			t.Errorf("%s: mean %.2f, deviation %.2f; want %.2f, %.2f", c.text, mean, sd, c.mean, c.sd)
		}
	}
}

// TestZipf: one is drawn 2^s times as often as two, and that 2^s times as often as four.
func TestZipf(t *testing.T) {
	d, err := ParseDistribution("zipf:50,1.5")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var count [51]int
	for range draws {
		count[d.sample(r)]++
	}
	for _, pair := range [][2]int{{1, 2}, {2, 4}, {4, 8}} {
		a, b := float64(count[pair[0]]), float64(count[pair[1]])
		if ratio := a / b; math.Abs(ratio-math.Pow(2, 1.5)) > 5*ratio*math.Sqrt(1/a+1/b) {
			t.Errorf("%d is drawn %.2f times as often as %d, want %.2f", pair[0], ratio, pair[1], math.Pow(2, 1.5))
		}
	}
}

// TestDistributionsAreBounded: whatever is drawn is a length.
func TestDistributionsAreBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, text := range []string{"normal:1,1048576", "lognormal:1048576,10", "zipf:1048576,1.0001", "zipf:1,2"} {
		d, err := ParseDistribution(text)
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if n := d.sample(r); n < 1 || n > maxLength {
				t.Fatalf("%s: drew %d", text, n)
			}
		}
	}
}

func TestNoDistribution(t *testing.T) {
	for _, text := range []string{
		"", "x", "0", "-1", "1.5", "1048577", "1e9", "NaN", "Inf", "uniform", "uniform:5", "uniform:9-5",
		"uniform:0-5", "uniform:1-2.5", "uniform:1-x", "normal:5", "normal:5,-1", "normal:5,NaN", "normal:x,1",
		"lognormal:5,11", "lognormal:0,1", "zipf:5,1", "zipf:5.5,2", "zipf:5,NaN", "beta:1,2", ":5", "uniform:1,5",
	} {
		if d, err := ParseDistribution(text); err == nil {
			t.Errorf("%q is read as %s", text, d)
		}
	}
}

func TestArrivalTimes(t *testing.T) {
	fixed := newArrivals(Fixed, 3, 0)
	for i := range 10 {
		if got, want := fixed.next(), seconds(float64(i)/3); got != want {
			t.Errorf("arrival %d at %v, want %v", i, got, want)
		}
	}
	one, same, other := newArrivals(Poisson, 50, 7), newArrivals(Poisson, 50, 7), newArrivals(Poisson, 50, 8)
	var gaps []float64
	last, differs := one.next(), false
	if last != 0 || same.next() != 0 || other.next() != 0 {
		t.Error("the first does not come at once")
	}
	for range draws {
		next := one.next()
		if same.next() != next {
			t.Fatal("the same seed gives other times")
		}
		differs = differs || other.next() != next
		gaps = append(gaps, (next - last).Seconds())
		last = next
	}
	if !differs {
		t.Error("another seed gives the same times")
	}
	// Of exponential gaps the mean is the deviation, and one in e is longer than the mean.
	mean, longer := last.Seconds()/draws, 0.0
	for _, g := range gaps {
		if g > mean {
			longer++
		}
	}
	if math.Abs(mean-0.02) > 5*0.02/math.Sqrt(draws) || math.Abs(longer/draws-1/math.E) > 0.02 {
		t.Errorf("mean gap %v s, %.3f of them longer", mean, longer/draws)
	}
}

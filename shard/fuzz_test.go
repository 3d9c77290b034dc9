package shard

import (
	"strings"
	"testing"
)

// What is read is written and read again as the same, and takes no more than its bounds.
func FuzzDecodePlan(f *testing.F) {
	f.Add([]byte(`{"epoch":3,"model":"m","workers":["a","b"],"layers":[["0-7","8-15"],null]}`))
	f.Add([]byte(`{"workers":["a"],"layers":[["0-16383"],["0-16383"]]}`))
	f.Add([]byte(`{"layers":[[],null,[]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodePlan(data)
		if err != nil {
			return
		}
		one, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodePlan(one)
		if err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		if two, err := back.Encode(); err != nil || string(one) != string(two) {
			t.Fatalf("%s was read as %s, %v", one, two, err)
		}
		for _, w := range p.Workers {
			p.Assigned(w)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	for _, text := range []string{"", "0-7,12", "5", "0-16383", "7,3", "1,,2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSet(text, MaxExperts)
		if err != nil {
			return
		}
		if back, err := ParseSet(s.String(), MaxExperts); err != nil || back.Minus(s).Len()+s.Minus(back).Len() != 0 {
			t.Fatalf("%q was read as %q and that as %q, %v", text, s, back, err)
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	f.Add([]byte(`{"model":"m","layers":[{"rows":[1,2],"reads":[1,0.5]},{}],"speeds":{"a":1e9}}`))
	f.Add([]byte(`{"layers":[{"rows":[-1],"reads":[1e39]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeReport(data)
		if err != nil {
			return
		}
		for _, layer := range LoadOf("m", []Layer{{Experts: 2}, {}}, []*Report{r}) {
			for e, v := range layer {
				if bad(v) {
					t.Fatalf("expert %d has load %v", e, v)
				}
			}
		}
	})
}

// Short texts must not stand for large plans, nor long ones for much work.
func TestPlanIsBounded(t *testing.T) {
	wide := strings.Repeat(`["0-16383"],`, 5000)
	many := `{"workers":["a"],"layers":[` + strings.TrimSuffix(wide, ",") + `]}`
	if _, err := DecodePlan([]byte(many)); err == nil || !strings.Contains(err.Error(), "5000 layers") {
		t.Errorf("5,000 layers: %v", err)
	}
	workers := make([]string, 2000)
	for i := range workers {
		workers[i] = `"` + string(rune('a'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10)) + `"`
	}
	layer := "[" + strings.TrimSuffix(strings.Repeat(`"0-16383",`, len(workers)), ",") + "],"
	wide = `{"workers":[` + strings.Join(workers, ",") + `],"layers":[` +
		strings.TrimSuffix(strings.Repeat(layer, 4), ",") + `]}`
	if _, err := DecodePlan([]byte(wide)); err == nil || !strings.Contains(err.Error(), "span more than") {
		t.Errorf("8,000 sets of 16,384 experts: %v", err)
	}
	if _, err := ParseSet(strings.Repeat("0-16383,", 1<<17)+"0", MaxExperts); err == nil {
		t.Error("a set that goes back is accepted")
	}
}

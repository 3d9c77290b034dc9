package loadgen

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// SLO is what a request must meet to count for goodput. Zero fields ask for nothing.
type SLO struct {
	TTFT time.Duration // to the first token
	ITL  time.Duration // 99 % of the gaps between its events
	TPOT time.Duration // per output token after the first, on average
	E2E  time.Duration // to the whole answer
}

// ParseSLO reads limits such as "ttft:500ms,itl:50ms,tpot:40ms,e2e:10s", each at most once.
func ParseSLO(text string) (SLO, error) {
	var s SLO
	limits := s.fields()
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		limit, ok := limits[name]
		if !ok {
			return SLO{}, fmt.Errorf("%q: want ttft, itl, tpot or e2e, a colon and a time", part)
		}
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return SLO{}, fmt.Errorf("%q: want a time above 0, such as 500ms", part)
		}
		if *limit != 0 {
			return SLO{}, fmt.Errorf("%q: %s is there twice", text, name)
		}
		*limit = d
	}
	return s, nil
}

func (s *SLO) fields() map[string]*time.Duration {
	return map[string]*time.Duration{"ttft": &s.TTFT, "itl": &s.ITL, "tpot": &s.TPOT, "e2e": &s.E2E}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *SLO) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSLO(string(text))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (s SLO) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns what ParseSLO reads; "" if nothing is asked for.
func (s SLO) String() string {
	var parts []string
	limits := s.fields()
	for _, name := range []string{"ttft", "itl", "tpot", "e2e"} {
		if limit := *limits[name]; limit != 0 {
			parts = append(parts, name+":"+limit.String())
		}
	}
	return strings.Join(parts, ",")
}

// meets says whether an answer kept within every limit. An answer without tokens has no time to
// the first; one with a single token has no gaps that could be too long.
func (s SLO) meets(r *Record) bool {
	if !r.Finished() || s.E2E != 0 && r.End > s.E2E {
		return false
	}
	if first, ok := r.TTFT(); s.TTFT != 0 && (!ok || first > s.TTFT) {
		return false
	}
	if each, ok := r.TPOT(); s.TPOT != 0 && ok && each > s.TPOT {
		return false
	}
	if s.ITL == 0 || len(r.Events) < 2 {
		return true
	}
	gaps := r.Gaps()
	slices.Sort(gaps)
	return percentile(gaps, 99) <= milliseconds(s.ITL)
}

package router

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/conclave-serve/conclave/shard"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of testdata/*.txt")

// Each testdata/*.txt is a list of scenarios: facts, a line "----", and the
// table that follows from them, up to an empty line.
//
//	experts 4 0 2          experts of each layer
//	plan 7 a=0-1/0 b=2-3/1 epoch, then each worker's experts, layer by layer
//	holder a 0-1/none away a worker, what it has ready, and whether it is away
//
// Dense layers are left out of the lists of experts.
func TestTableScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, want)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s does not hold any more; now it reads:\n%s", file, got)
			}
		})
	}
}

// replay copies a file with its expectations computed anew.
func replay(t *testing.T, in []byte) []byte {
	var out bytes.Buffer
	s := scenario{t: t}
	expecting := false
	lines := bufio.NewScanner(bytes.NewReader(in))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "----":
			fmt.Fprintf(&out, "%s\n%s", line, describe(NewTable(s.plan, s.experts, s.holders)))
			expecting, s = true, scenario{t: t}
		case line == "":
			expecting = false
			fmt.Fprintln(&out)
		case !expecting:
			fmt.Fprintln(&out, line)
			s.fact(strings.Fields(line))
		}
	}
	return out.Bytes()
}

// scenario is what the lines of a scenario have said so far.
type scenario struct {
	t       *testing.T
	experts []int
	plan    *shard.Plan
	holders []Holder
}

func (s *scenario) fact(words []string) {
	switch words[0] {
	case "#":
	case "experts":
		for _, w := range words[1:] {
			s.experts = append(s.experts, s.number(w))
		}
	case "plan":
		s.plan = &shard.Plan{Epoch: uint64(s.number(words[1])), Layers: make([][]shard.Set, len(s.experts))}
		for _, w := range words[2:] {
			id, sets, _ := strings.Cut(w, "=")
			s.plan.Workers = append(s.plan.Workers, shard.WorkerID(id))
			for l, set := range s.sets(sets) {
				if s.experts[l] > 0 {
					s.plan.Layers[l] = append(s.plan.Layers[l], set)
				}
			}
		}
	case "holder":
		s.holders = append(s.holders, Holder{
			ID: shard.WorkerID(words[1]), Ready: s.sets(words[2]), Reachable: len(words) == 3,
		})
	default:
		s.t.Fatalf("unknown fact %q", words)
	}
}

func (s *scenario) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *scenario) sets(text string) []shard.Set {
	sets := make([]shard.Set, len(s.experts))
	parts := strings.Split(text, "/")
	for l, n := range s.experts {
		if n == 0 {
			continue
		}
		if parts[0] == "none" {
			parts = parts[1:]
			continue
		}
		set, err := shard.ParseSet(parts[0], n)
		if err != nil {
			s.t.Fatal(err)
		}
		sets[l], parts = set, parts[1:]
	}
	return sets
}

func describe(t *Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d settled %v complete %v\n", t.Epoch, t.Settled, t.Complete())
	for l, layer := range t.replicas {
		for e, replicas := range layer {
			fmt.Fprintf(&b, "layer %d expert %d:", l, e)
			for _, h := range replicas {
				fmt.Fprintf(&b, " %s", t.Holders[h].ID)
			}
			fmt.Fprintln(&b)
		}
	}
	least, most := t.Replicas()
	fmt.Fprintf(&b, "replicas %d to %d\n", least, most)
	if t.Missing() != "" {
		fmt.Fprintln(&b, t.Missing())
	}
	return b.String()
}

// Missing is for people; an incomplete table must always say something, a
// complete one nothing.
func TestMissingIsEmptyOnlyWhenComplete(t *testing.T) {
	empty := NewTable(nil, []int{2}, nil)
	if empty.Complete() || empty.Settled || !strings.Contains(empty.Missing(), "experts 0-1 of layer 0") {
		t.Errorf("table without workers: %+v, %q", empty, empty.Missing())
	}
	dense := NewTable(nil, []int{0, 0}, nil)
	if !dense.Complete() || dense.Missing() != "" {
		t.Errorf("table without experts misses %q", dense.Missing())
	}
}

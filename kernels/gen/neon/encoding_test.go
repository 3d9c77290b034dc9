package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	wordLine = regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.*)`)
	encoding = regexp.MustCompile(`encoding: \[0x(..),0x(..),0x(..),0x(..)\]`)
)

// TestEncodings has LLVM assemble the instructions that are written as words.
func TestEncodings(t *testing.T) {
	assembler, err := exec.LookPath("llvm-mc")
	if err != nil {
		t.Skip("there is no llvm-mc here: the words are tested by what the kernels compute")
	}
	words := map[string]string{} // by instruction
	for _, part := range []string{"mul", "attend", "gate", "rows", "rounded", "read"} {
		p, err := write(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range wordLine.FindAllStringSubmatch(p.assembly(""), -1) {
			words[m[2]] = m[1]
		}
	}
	var source strings.Builder
	var order []string
	for instruction := range words {
		order = append(order, instruction)
		source.WriteString(instruction + "\n")
	}
	file := filepath.Join(t.TempDir(), "words.s")
	if err := os.WriteFile(file, []byte(source.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(assembler, "-triple=aarch64", "-mattr=+dotprod", "-show-encoding", file).
		CombinedOutput()
	if err != nil {
		t.Fatalf("llvm-mc: %v\n%s", err, out)
	}
	got := encoding.FindAllStringSubmatch(string(out), -1)
	if len(got) != len(order) || len(order) < 100 {
		t.Fatalf("%d encodings of %d instructions", len(got), len(order))
	}
	for i, instruction := range order {
		if want := got[i][4] + got[i][3] + got[i][2] + got[i][1]; words[instruction] != want {
			t.Errorf("%s is %s, want %s", instruction, words[instruction], want)
		}
	}
}

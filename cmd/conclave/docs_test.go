package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestEveryFlagIsDocumented holds docs/cli.md to the flags: every command has
// a section, every flag a row.
func TestEveryFlagIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var line cli
	parser, err := newParser(&line)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(page), "`--[no-]", "`--")
	nodes := append([]*kong.Node{parser.Model.Node}, parser.Model.Leaves(false)...)
	for _, node := range nodes {
		name := commandName(node)
		if node.Type == kong.CommandNode && !strings.Contains(text, "\n## `conclave "+name+"`\n") {
			t.Errorf("docs/cli.md has no section on conclave %s", name)
		}
		for _, f := range node.Flags {
			if !f.Hidden && f.Name != "help" && !strings.Contains(text, "`--"+f.Name+"` |") {
				t.Errorf("docs/cli.md has no row for --%s of conclave %s", f.Name, name)
			}
		}
	}
}

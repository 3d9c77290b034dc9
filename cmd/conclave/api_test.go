package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What up is told about the API reaches its coordinator, but for the keys, which
// are in no command line.
func TestAPIFlagsForChildren(t *testing.T) {
	c, err := parse(t, "up", "--api-key", "sk-one", "--api-key", "sk-two", "--cors-origin", "http://a,http://b:1",
		"--max-body", "1MiB", "--request-timeout", "90s")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Up.access().Keys; !slices.Equal(got, []string{"sk-one", "sk-two"}) {
		t.Errorf("keys %q", got)
	}
	args := c.Up.coordinatorArgs("m", "n")
	if text := strings.Join(args, " "); strings.Contains(text, "sk-") {
		t.Errorf("keys in the command line: %s", text)
	}
	t.Setenv("CONCLAVE_API_KEY", strings.TrimPrefix(c.Up.env()[0], "CONCLAVE_API_KEY="))
	i := slices.Index(args, "--max-body") // what comes before needs a checkpoint
	child, err := parse(t, append([]string{"coordinator", "--model", t.TempDir()}, args[i:]...)...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Up.apiFlags, child.Coordinator.apiFlags); diff != "" {
		t.Errorf("the child's settings (-want +got):\n%s", diff)
	}
	plain, err := parse(t, "status", "--api-key", "sk-one,sk-two")
	if err != nil || plain.Status.key() != "sk-one" {
		t.Errorf("a client shows %q, %v", plain.Status.key(), err)
	}
}

// Etcd is a single etcd for tests on machines that have none:
// go run ./tests/hosts/etcd HOST:PORT DIR.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/conclave-serve/conclave/internal/membership"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want HOST:PORT and DIR, have %q", args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	etcd, err := membership.StartEmbedded(membership.EmbeddedConfig{
		ClientAddr: args[0], Dir: args[1], NoFsync: true,
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return etcd.Close()
}

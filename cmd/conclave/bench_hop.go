package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/conclave-serve/conclave/internal/bench"
	"github.com/conclave-serve/conclave/internal/local"
	"github.com/conclave-serve/conclave/internal/wire"
)

// benchHopCommand measures the hop between two processes: this one and a child, or one elsewhere.
// Its --wire has a default of its own: hence an environment twin of its own.
type benchHopCommand struct {
	Hidden   int           `help:"Width of activations." default:"7168"`
	Tokens   []int         `help:"Sizes of calls, comma-separated." default:"1,8,32,256"`
	Wire     wireFormat    `help:"Format of activations: bf16 or f32." default:"bf16" env:"CONCLAVE_BENCH_WIRE"`
	Duration time.Duration `help:"How long each size takes on each path." default:"2s"`
	Busy     bool          `help:"Compute on all cores of this machine meanwhile."`
	Serve    string        `help:"Be the other end, at this address, until a signal comes." placeholder:"HOST:PORT"`
	Connect  string        `help:"Measure to another end: the line that its --serve has printed." placeholder:"JSON"`
	JSON     bool          `name:"json" help:"Print JSON."`

	Child bool `help:"End when standard input does: for children of bench hop." hidden:""`
	Burn  bool `help:"Compute on all cores: for children of bench hop." hidden:""`
}

// Validate implements kong's check of the command line.
func (f *benchHopCommand) Validate() error {
	if f.Serve != "" && f.Connect != "" {
		return errors.New("--serve is one end and --connect the other: give one of them")
	}
	return errors.Join(atLeastOne("hidden", f.Hidden), notNegative("duration", f.Duration))
}

// Run implements kong's command.
func (f *benchHopCommand) Run(ctx context.Context, c *cli) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.Child {
		go func() { // ends with the process
			local.AwaitParentEnd(os.Stdin)
			cancel()
		}()
	}
	switch {
	case f.Burn:
		bench.Burn(ctx, runtime.GOMAXPROCS(0))
		return nil
	case f.Serve != "":
		return bench.ServePeer(ctx, f.Serve, f.Hidden, func(p bench.Peer) error {
			return json.NewEncoder(os.Stdout).Encode(p)
		})
	}
	return f.measure(ctx, c)
}

// measure is the coordinator's end.
func (f *benchHopCommand) measure(ctx context.Context, c *cli) (err error) {
	said := []byte(f.Connect)
	if f.Connect == "" {
		out, end, err := benchChild(ctx, "--serve", "127.0.0.1:0", "--hidden", strconv.Itoa(f.Hidden))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
		if said, err = bufio.NewReader(out).ReadBytes('\n'); err != nil {
			return fmt.Errorf("the other end did not start: %w", err)
		}
	}
	peer, err := bench.DecodePeer(said)
	if err != nil {
		return err
	}
	if f.Busy {
		_, end, err := benchChild(ctx, "--burn")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	log := c.Log.logger()
	report, err := bench.Hop(ctx, bench.HopConfig{
		Peer: peer, Tokens: f.Tokens, Wire: wire.Format(f.Wire), Duration: f.Duration, Busy: f.Busy,
		Progress: func(what string) { log.Info("measuring hops", "next", what) },
	})
	if err != nil {
		return err
	}
	if f.JSON {
		return report.WriteJSON(os.Stdout)
	}
	return report.WriteTable(os.Stdout)
}

// benchChild starts this program as another end or another load. It ends when end is called, or
// when this process does.
func benchChild(ctx context.Context, args ...string) (out io.Reader, end func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	child := exec.CommandContext(ctx, self, append([]string{"bench", "hop", "--child"}, args...)...)
	child.Stderr = os.Stderr
	child.WaitDelay = childPatience
	stdin, err := child.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := child.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", self, err)
	}
	return stdout, func() error {
		err := stdin.Close()
		if failed := child.Wait(); ctx.Err() == nil { // else it was killed
			err = errors.Join(err, failed)
		}
		return err
	}, nil
}

// childPatience is how long a child that was killed may keep its pipes open.
const childPatience = 5 * time.Second

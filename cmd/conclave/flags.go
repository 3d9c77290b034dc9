package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"github.com/conclave-serve/conclave/coordinator/dispatch"
	"github.com/conclave-serve/conclave/coordinator/kvcache"
	"github.com/conclave-serve/conclave/internal/local"
	"github.com/conclave-serve/conclave/internal/membership"
	"github.com/conclave-serve/conclave/internal/wire"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/shard"
)

// byteSize is a number of bytes, written as 4GiB, 512MB or 1000000.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<60 {
		return fmt.Errorf("%q is no size: want a number with a unit, such as 4GiB or 512MB", text)
	}
	*b = byteSize(n)
	return nil
}

// laneTransport is what carries expert calls.
type laneTransport dispatch.Transport

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *laneTransport) UnmarshalText(text []byte) error {
	transport, err := dispatch.ParseTransport(string(text))
	*t = laneTransport(transport)
	return err
}

// wireFormat is what activations are rounded to between processes.
type wireFormat wire.Format

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *wireFormat) UnmarshalText(text []byte) error {
	f, err := wire.ParseFormat(string(text))
	*w = wireFormat(f)
	return err
}

// kvFormat is what keys and values are stored as.
type kvFormat kernels.Format

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *kvFormat) UnmarshalText(text []byte) error {
	f, err := kvcache.ParseFormat(string(text))
	*k = kvFormat(f)
	return err
}

// quantFlag is what weights are quantised to as they are loaded.
type quantFlag shard.Quant

// UnmarshalText implements encoding.TextUnmarshaler.
func (q *quantFlag) UnmarshalText(text []byte) error {
	quant, err := shard.ParseQuant(string(text))
	*q = quantFlag(quant)
	return err
}

// expertsFlags say how experts are held: the same for workers and coordinators.
type expertsFlags struct {
	ExpertsQuant quantFlag `help:"What experts are quantised to as they are loaded: none, int8 or int4; the same for all processes of a cluster." default:"none"`
	Activations  string    `help:"What activations are rounded to before they meet weights that were quantised as they were loaded, or experts in MXFP4: f32 (not at all) or int8 (faster); the same for all processes of a cluster." enum:"f32,int8" default:"f32"`
}

// rounds reports whether activations are rounded.
func (f *expertsFlags) rounds() bool { return f.Activations == "int8" }

// experts is what experts are held as. Not quantised, those of an MXFP4 checkpoint are rearranged
// for activations in int8.
func (f *expertsFlags) experts() shard.Quant {
	if f.rounds() {
		return shard.Quant(f.ExpertsQuant).Rounded()
	}
	return shard.Quant(f.ExpertsQuant)
}

func (f *expertsFlags) expertsArgs() []string {
	quant := shard.Quant(f.ExpertsQuant).String()
	return []string{"--experts-quant", quant, "--activations", f.Activations}
}

// quantFlags say how all weights are held.
type quantFlags struct {
	expertsFlags
	AttentionQuant quantFlag `help:"What the coordinator's own weights are quantised to as they are loaded, but for embedding and gates: none, int8 or int4." default:"none"`
}

func (f *quantFlags) quantArgs() []string {
	return append(f.expertsArgs(), "--attention-quant", shard.Quant(f.AttentionQuant).String())
}

// attention is what the coordinator's own weights are held as.
func (f *quantFlags) attention() shard.Quant {
	q := shard.Quant(f.AttentionQuant)
	if f.rounds() && q != shard.QuantNone {
		return q.Rounded()
	}
	return q
}

// notNegative refuses a number below 0; 0 means the default.
func notNegative[T int | float64 | time.Duration](flag string, value T) error {
	if value < 0 {
		return fmt.Errorf("--%s is %v: want 0 or more", flag, value)
	}
	return nil
}

// atLeastOne refuses a number below 1.
func atLeastOne(flag string, value int) error {
	if value < 1 {
		return fmt.Errorf("--%s is %d: want 1 or more", flag, value)
	}
	return nil
}

// atMost refuses a number below 0 or above limit.
func atMost(flag string, value, limit int) error {
	if value < 0 || value > limit {
		return fmt.Errorf("--%s is %d: want 0 to %d", flag, value, limit)
	}
	return nil
}

// logFlags say what is logged and how.
type logFlags struct {
	Level  slog.Level `help:"Least level that is logged: debug, info, warn, error." default:"info"`
	Format string     `help:"Form of the log: text, json, or auto (text on a terminal)." enum:"auto,text,json" default:"auto"`
}

func (f logFlags) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: f.Level}
	if f.Format == "json" || f.Format == "auto" && !term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// clusterFlags say how a process finds and meets the others.
type clusterFlags struct {
	Etcd       []string      `help:"Addresses of etcd, comma-separated." default:"127.0.0.1:2379"`
	Cluster    string        `help:"Name of the cluster; several may share an etcd." default:"default"`
	LeaseTTL   time.Duration `help:"How long a silent process stays registered." default:"5s"`
	Advertise  string        `help:"Host, or host:port, at which others reach this process; default: the listening address, or this machine's first address." placeholder:"HOST"`
	GossipBind string        `help:"IP address on which to gossip; default: all, or loopback if that is where it listens." placeholder:"IP"`
	GossipPort int           `help:"UDP and TCP port on which to gossip; 0: a free one." default:"0"`
	GossipKey  string        `help:"Key that encrypts gossip: 32, 48 or 64 hexadecimal digits." placeholder:"HEX"`
	WithParent bool          `help:"End when standard input does: for children of conclave up." hidden:""`
}

func (f *clusterFlags) validate() error {
	return cmp.Or(notNegative("lease-ttl", f.LeaseTTL), notNegative("gossip-port", f.GossipPort))
}

func (f *clusterFlags) registry(log *slog.Logger) membership.Config {
	return membership.Config{Endpoints: f.Etcd, Cluster: f.Cluster, LeaseTTL: f.LeaseTTL, Log: log}
}

// gossip returns the gossip settings of a process that listens on listen.
func (f *clusterFlags) gossip(listen string) (membership.GossipConfig, error) {
	g := membership.GossipConfig{BindAddr: f.GossipBind, Port: f.GossipPort}
	if g.BindAddr == "" && !isLoopback(listen) {
		g.BindAddr = "0.0.0.0"
	}
	if f.Advertise != "" {
		ip, err := advertisedIP(f.Advertise)
		if err != nil {
			return g, err
		}
		g.AdvertiseAddr = ip
	}
	if f.GossipKey != "" {
		key, err := hex.DecodeString(f.GossipKey)
		if err != nil || len(key) != 16 && len(key) != 24 && len(key) != 32 {
			return g, fmt.Errorf("--gossip-key: want 32, 48 or 64 hexadecimal digits")
		}
		g.Key = key
	}
	return g, nil
}

// advertisedIP is the address behind a host or host:port: gossip speaks in
// addresses.
func advertisedIP(advertise string) (string, error) {
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		host = advertise
	}
	if net.ParseIP(host) != nil {
		return host, nil
	}
	found, err := net.LookupIP(host)
	if err != nil {
		return "", fmt.Errorf("--advertise: %w", err)
	}
	return found[0].String(), nil
}

func isLoopback(listen string) bool {
	return strings.HasPrefix(listen, "127.") || strings.HasPrefix(listen, "localhost") ||
		strings.HasPrefix(listen, "[::1]")
}

// watchParent ends the process with its parent, if it is a child of one.
func (f *clusterFlags) watchParent() {
	if f.WithParent {
		go func() {
			local.AwaitParentEnd(os.Stdin)
			os.Exit(exitFailed)
		}()
	}
}

// idOrHost is the id given, or this machine's name.
func idOrHost(id string) (string, error) {
	if id != "" {
		return id, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this process: %w; give it an --id", err)
	}
	return name, nil
}

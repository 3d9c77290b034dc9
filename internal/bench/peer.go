package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/conclave-serve/conclave/internal/synth"
	"github.com/conclave-serve/conclave/kernels"
	"github.com/conclave-serve/conclave/shard"
)

// End is where the other end of a hop listens.
type End struct {
	Network string `json:"network"` // tcp or unix
	Worker  string `json:"worker"`  // a worker's address
	Raw     string `json:"raw"`     // a bare socket's
}

// Peer is what the other end of a hop says of itself.
type Peer struct {
	Hidden int   `json:"hidden"`
	Ends   []End `json:"ends"`
}

// hopWorker is the id of a peer's worker.
const hopWorker = "hop"

// hopConfig is a model whose experts are next to nothing: what a call takes is the hop. Numbers
// that do not matter are small.
const hopConfig = `{
  "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "torch_dtype": "bfloat16",
  "hidden_size": %d, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
  "head_dim": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000,
  "vocab_size": 320, "hidden_act": "silu", "num_experts": 2, "num_experts_per_tok": 1,
  "moe_intermediate_size": 32, "norm_topk_prob": true, "decoder_sparse_step": 1,
  "mlp_only_layers": [], "intermediate_size": 32, "tie_word_embeddings": true, "eos_token_id": 1
}`

// ServePeer is the other end of a hop, until ctx ends: a worker of a tiny model of a hidden size,
// and bare sockets. It listens on addr, on the next port for bare sockets unless the port is 0,
// and, where it is this machine alone that can connect, on unix sockets as well. ready is told when
// it does.
func ServePeer(ctx context.Context, addr string, hidden int, ready func(Peer) error) (err error) {
	if hidden < 32 || hidden > maxSide {
		return fmt.Errorf("a hidden size of %d: want 32 to %d", hidden, maxSide)
	}
	dir, err := os.MkdirTemp("", "conclave-hop-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ck, err := hopCheckpoint(ctx, dir, hidden)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ck.tensors.Close()) }()
	peer := Peer{Hidden: hidden}
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	listeners, err := listenHop(addr, dir)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		w := startWorker(ck, hopWorker, l.worker, runtime.GOMAXPROCS(0), shard.QuantNone)
		closers = append(closers, w.close)
		var one shard.Set
		one.Add(0)
		if err := w.store.Load(ctx, 0, one, nil); err != nil {
			return err
		}
		pool := kernels.NewPool(w.pool.Threads()) // the worker's own is the worker's
		raw := startEcho(l.raw, &rawExpert{
			expert: w.store.Expert(0, 0), activation: ck.spec.Activation, hidden: hidden, pool: pool,
		})
		closers = append(closers, func() error {
			defer pool.Close()
			return raw.close()
		})
		end := End{
			Network: l.raw.Addr().Network(), Worker: l.worker.Addr().String(),
			Raw: l.raw.Addr().String(),
		}
		if end.Network == "unix" {
			end.Worker = "unix:" + end.Worker
		}
		peer.Ends = append(peer.Ends, end)
	}
	if err := ready(peer); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// hopCheckpoint writes and opens the tiny model.
func hopCheckpoint(ctx context.Context, dir string, hidden int) (*checkpoint, error) {
	file := filepath.Join(dir, "hop.config.json")
	err := os.WriteFile(file, fmt.Appendf(nil, hopConfig, hidden), 0o600)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "model")
	if _, err := synth.Run(ctx, synth.Config{File: file, Out: out, Seed: 1}); err != nil {
		return nil, err
	}
	return openCheckpoint(out)
}

// pair is two listeners on one path.
type pair struct{ worker, raw net.Listener }

// listenHop listens on addr and, if that is a loopback address, on sockets in dir.
func listenHop(addr, dir string) (pairs []pair, err error) {
	defer func() {
		if err != nil {
			for _, p := range pairs {
				_, _ = p.worker.Close(), p.raw.Close() // err says more
			}
		}
	}()
	first, err := listenPair("tcp", addr, nextPort)
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, first)
	if host, ok := first.worker.Addr().(*net.TCPAddr); !ok || !host.IP.IsLoopback() {
		return pairs, nil
	}
	local, err := listenPair("unix", filepath.Join(dir, "w"), func(string, net.Addr) string {
		return filepath.Join(dir, "r")
	})
	if err != nil {
		return pairs, err
	}
	return append(pairs, local), nil
}

// listenPair listens on addr for a worker, and on what follows it for bare sockets.
func listenPair(network, addr string, next func(string, net.Addr) string) (p pair, err error) {
	if p.worker, err = net.Listen(network, addr); err != nil {
		return p, err
	}
	if p.raw, err = net.Listen(network, next(addr, p.worker.Addr())); err != nil {
		return p, errors.Join(err, p.worker.Close())
	}
	return p, nil
}

// nextPort is the address with the port above, or with any if any was asked for.
func nextPort(asked string, bound net.Addr) string {
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return asked
	}
	port := tcp.Port + 1
	if _, p, err := net.SplitHostPort(asked); err == nil && (p == "0" || p == "") {
		port = 0
	}
	return (&net.TCPAddr{IP: tcp.IP, Port: port, Zone: tcp.Zone}).String()
}

// maxPeer bounds what a peer says of itself.
const maxPeer = 16 << 10

// DecodePeer reads what ready was told, as JSON.
func DecodePeer(data []byte) (Peer, error) {
	var p Peer
	if len(data) > maxPeer {
		return p, errors.New("the other end says too much")
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("the other end is none: %w", err)
	}
	return p, nil
}

// Burn computes on so many threads until ctx ends: other work, that hops compete with.
func Burn(ctx context.Context, threads int) {
	pool := kernels.NewPool(max(threads, 1))
	defer pool.Close()
	for job := make(addJob, pool.Threads()); ctx.Err() == nil; {
		pool.Run(itemsEach*pool.Threads(), job)
	}
}

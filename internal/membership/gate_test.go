package membership

import (
	"net"
	"sync"
	"testing"
)

// gate is a TCP proxy whose traffic can be stopped.
type gate struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	shut  bool // refuse and close connections
	mute  bool // swallow what the target answers
	conns map[net.Conn]bool
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{ln: ln, target: target, conns: map[net.Conn]bool{}}
	g.wg.Go(g.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		g.set(true, false)
		g.wg.Wait()
	})
	return g
}

func (g *gate) addr() string { return g.ln.Addr().String() }

// set changes what passes; shut also ends the connections that exist.
func (g *gate) set(shut, mute bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.mute = shut, mute
	if shut {
		for c := range g.conns {
			_ = c.Close()
		}
	}
}

func (g *gate) add(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		_ = c.Close()
		return false
	}
	g.conns[c] = true
	return true
}

func (g *gate) serve() {
	for {
		in, err := g.ln.Accept()
		if err != nil {
			return
		}
		if !g.add(in) {
			continue
		}
		out, err := net.Dial("tcp", g.target)
		if err != nil || !g.add(out) {
			_ = in.Close()
			continue
		}
		g.wg.Go(func() { g.pipe(out, in, false) })
		g.wg.Go(func() { g.pipe(in, out, true) })
	}
}

func (g *gate) pipe(to, from net.Conn, answers bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		swallow := answers && g.mute
		g.mu.Unlock()
		if n > 0 && !swallow {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

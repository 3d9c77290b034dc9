package direct_test

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkEcho is a message there and back: on a bare socket, and through both transports.
func BenchmarkEcho(b *testing.B) {
	for _, n := range []int{14 << 10, 448 << 10} {
		b.Run(fmt.Sprintf("%d/raw", n), func(b *testing.B) { benchmarkRaw(b, n) })
		for _, stock := range []bool{false, true} {
			name := map[bool]string{false: "direct", true: "grpc"}[stock]
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				addr := serve(b, &echo{}, stock, listen(b))
				l := open(b.Context(), b, dial(b.Context(), b, addr, stock))
				l.ask(1, n)
				b.ReportAllocs()
				for b.Loop() {
					l.req.Activations.Reserve(&l.buffers, n)
					if err := l.stream.SendMsg(&l.req); err != nil {
						b.Fatal(err)
					}
					if err := l.stream.RecvMsg(&l.resp); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchmarkRaw(b *testing.B, n int) {
	lis := listen(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := lis.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for m := make([]byte, n); ; {
			if _, err := io.ReadFull(c, m); err != nil {
				return
			}
			if _, err := c.Write(m); err != nil {
				return
			}
		}
	}()
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	m := make([]byte, n)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(m); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, m); err != nil {
			b.Fatal(err)
		}
	}
	_, _ = c.Close(), lis.Close()
	<-done
}

package dispatch

import "testing"

// Both transports reach the same worker, and give the same bits.
func TestTransports(t *testing.T) {
	for _, name := range []string{"auto", "grpc"} {
		transport, err := ParseTransport(name)
		if err != nil || transport.String() != name {
			t.Fatal(transport, err)
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.Transport = transport })
			r.serve(startFake(t, "a"), 0, 1, 2, 3)
			r.awaitLanes()
			r.check()
		})
	}
	if _, err := ParseTransport("pigeon"); err == nil {
		t.Error("pigeons carry calls")
	}
}

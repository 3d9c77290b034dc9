package faultnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// mtu of a host's interface: large frames cost the switch less.
const mtu = 9000

// Host is a network namespace, and a mount namespace, with one interface, whose
// other end is in this process. A thread lives in it: what Do runs sees the host's
// network, and mounts that it makes end with the host.
type Host struct {
	addr  netip.Addr
	cable *os.File // Ethernet frames
	calls chan func()
	ended chan struct{}
}

// NewHost makes a host with an address, such as 10.77.0.3/24. It needs root.
func NewHost(addr netip.Prefix) (*Host, error) {
	h := &Host{addr: addr.Addr(), calls: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(h.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespaces
		err := h.enter(addr)
		made <- err
		if err != nil {
			return
		}
		for call := range h.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a host with the address %v: %w", addr, err)
	}
	return h, nil
}

// Addr is the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Do runs f in the host. A process that f starts lives there, and may ask to be
// killed with its parent thread, which is the host's.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	h.calls <- func() { result <- f() }
	return <-result
}

// Dial connects from the host. The address must be an IP address.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens in the host. The address must be an IP address.
func (h *Host) Listen(addr string) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = net.Listen("tcp4", addr)
		return err
	})
	return listener, err
}

// Close ends the host, and waits until its thread has.
func (h *Host) Close() {
	close(h.calls)
	<-h.ended
	_ = h.cable.Close() // nobody is left to hear what was lost
}

// enter moves the calling thread into new namespaces and puts the cable in.
func (h *Host) enter(addr netip.Prefix) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }() // it carried settings only
	if h.cable, err = openTap("eth0"); err != nil {
		return err
	}
	if err := configure(socket, addr); err != nil {
		return errors.Join(err, h.cable.Close())
	}
	return nil
}

// openTap makes an interface whose frames the file reads and writes.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a TAP interface: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// configure gives eth0 its address and brings it and lo up.
func configure(socket int, addr netip.Prefix) error {
	mask := net.CIDRMask(addr.Bits(), 32)
	address := func(a []byte) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(a) }
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	for _, step := range []struct {
		name    string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{"lo", unix.SIOCSIFFLAGS, up},
		{"eth0", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{"eth0", unix.SIOCSIFADDR, address(addr.Addr().AsSlice())},
		{"eth0", unix.SIOCSIFNETMASK, address(mask)},
		{"eth0", unix.SIOCSIFFLAGS, up},
	} {
		request, err := unix.NewIfreq(step.name)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(socket, step.request, request)
		}
		if err != nil {
			return fmt.Errorf("configure %s: %w", step.name, err)
		}
	}
	return nil
}

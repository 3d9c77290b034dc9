package direct

import (
	"bytes"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Split takes lis over and returns a listener of the connections that are not for this server,
// for a stock one. What was read from them comes again. They may get the settings twice: a client
// of gRPC asks for nothing before it has them.
func (s *Server) Split(lis net.Listener) net.Listener {
	rest := &splitListener{
		Listener: lis, others: make(chan net.Conn), ended: make(chan struct{}),
		closed: make(chan struct{}),
	}
	go func() {
		defer close(rest.ended)
		for {
			conn, err := lis.Accept()
			if err != nil {
				rest.err = err
				return
			}
			s.keep(conn, func() { s.greet(conn, rest) })
		}
	}()
	return rest
}

// splitListener has the connections that are left.
type splitListener struct {
	net.Listener
	others chan net.Conn
	ended  chan struct{} // closed when nothing is accepted any more, because of err
	err    error
	close  sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *splitListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.others:
		return c, nil
	case <-l.ended:
		return nil, l.err
	}
}

// Close implements net.Listener. It waits for whoever accepts.
func (l *splitListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	err := l.Listener.Close()
	<-l.ended
	return err
}

// greet finds out whom a connection is for.
func (s *Server) greet(conn net.Conn, rest *splitListener) {
	c := &session{server: s}
	c.link = newLink(conn, s.options.MaxMessage, c)
	if c.ours() {
		c.run()
		s.forget(conn)
		return
	}
	l := c.link
	l.wg.Wait()
	if l.err() != nil || l.w < len(http2.ClientPreface) || conn.SetDeadline(time.Time{}) != nil {
		l.end(errNotHTTP2)
		s.forget(conn)
		return
	}
	if !s.forget(conn) {
		return
	}
	select {
	case rest.others <- &replayed{conn, bytes.NewReader(bytes.Clone(l.buf[:l.w]))}:
	case <-rest.ended:
		_ = conn.Close() // there is nobody to hand it on to
	case <-rest.closed:
		_ = conn.Close() // likewise
	}
}

var errNotHTTP2 = broken(http2.ErrCodeProtocol, "the connection does not speak HTTP/2")

// ours looks ahead, without taking anything, to what is asked for first.
func (c *session) ours() bool {
	l := c.link
	if l.conn.SetDeadline(time.Now().Add(greetTimeout)) != nil {
		return false
	}
	// The least that all servers here grant. The rest follows when it is known who answers.
	if _, err := l.conn.Write(appendSettings(nil, firstSettings()...)); err != nil {
		l.end(err)
		return false
	}
	preface := []byte(http2.ClientPreface)
	for at := 0; at < len(l.buf)-headerBytes-maxControl; {
		if at == 0 {
			n := min(l.w, len(preface))
			if !bytes.Equal(l.buf[:n], preface[:n]) {
				l.end(errNotHTTP2)
				return false
			}
			if n == len(preface) {
				at = n
				continue
			}
		} else if end, f := firstHeaders(l.buf[at:l.w]); f != nil {
			return c.server.serves(f)
		} else if end < 0 {
			return false
		} else if end > 0 {
			at += end
			continue
		}
		n, err := l.conn.Read(l.buf[l.w:])
		if l.w += n; err != nil && n == 0 {
			return false
		}
	}
	return false
}

// firstHeaders reads a frame of those that come before anything else: its length, 0 if it is not
// all there, -1 if it is one that a stock server may deal with.
func firstHeaders(b []byte) (end int, f *fields) {
	if len(b) < headerBytes {
		return 0, nil
	}
	h := parseHeader(b)
	switch {
	case h.length > maxControl:
		return -1, nil
	case len(b) < headerBytes+h.length:
		return 0, nil
	}
	end = headerBytes + h.length
	switch h.kind {
	case http2.FrameSettings, http2.FrameWindowUpdate, http2.FramePing, http2.FramePriority:
		return end, nil
	case http2.FrameHeaders:
		block, err := headerBlock(h, b[headerBytes:end])
		if err != nil || h.flags&http2.FlagHeadersEndHeaders == 0 {
			return -1, nil
		}
		if f, err = newHeaderReader().read(block); err == nil {
			return end, f
		}
	}
	return -1, nil
}

// firstSettings are granted to everybody.
func firstSettings() []http2.Setting {
	return []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: windowBytes},
		{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderBytes},
		{ID: http2.SettingMaxConcurrentStreams, Val: maxStreams},
	}
}

// replayed is a connection with what was read of it before.
type replayed struct {
	net.Conn
	before *bytes.Reader
}

// Read implements net.Conn.
func (c *replayed) Read(p []byte) (int, error) {
	if c.before.Len() > 0 {
		return c.before.Read(p)
	}
	return c.Conn.Read(p)
}

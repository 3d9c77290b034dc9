package direct

import "golang.org/x/net/http2"

// maxAhead is what may lie between the data of a peer that uses all of its window.
const maxAhead = 1 << 20

// readAhead deals with frames that concern the connection behind data that nobody takes yet, of
// up to limit bytes. It waits for bytes if all that came has been looked at. The reader's.
func (l *link) readAhead(limit int) error {
	before := l.seen
	if err := l.scan(); err != nil || l.seen > before {
		return err
	}
	if l.w-l.r >= limit {
		return broken(http2.ErrCodeFlowControl, "more than the window of %d bytes", windowBytes)
	}
	if err := l.fill(l.w - l.r + 1); err != nil {
		return err
	}
	return l.scan()
}

// scan looks through what has come, and leaves what must be dealt with in order.
func (l *link) scan() error {
	at := max(l.seen, l.pos+int64(l.left+l.pad))
	defer func() { l.seen = at }()
	for {
		offset := at - l.pos
		if offset+headerBytes > int64(l.w-l.r) {
			return nil
		}
		b := l.buf[l.r+int(offset) : l.w]
		h := parseHeader(b)
		end := headerBytes + h.length
		if !ahead(h.kind) {
			at += int64(end)
			continue
		}
		if h.length > maxControl {
			return broken(http2.ErrCodeFrameSize, "%v of %d bytes", h.kind, h.length)
		}
		if end > len(b) {
			return nil
		}
		if err := l.count(h.kind); err != nil {
			return err
		}
		at += int64(end)
		if err := l.control(h, b[headerBytes:end]); err != nil {
			return err
		}
	}
}

package direct

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2"
)

// step deals with one frame. Data of a stream that receives is left at hand.
func (l *link) step() error {
	if err := l.leave(); err != nil {
		return err
	}
	at := l.pos
	b, err := l.take(headerBytes)
	if err != nil {
		return err
	}
	h := parseHeader(b)
	if l.blockStream != 0 && (h.kind != http2.FrameContinuation || h.stream != l.blockStream) {
		return broken(http2.ErrCodeProtocol, "%v where headers go on", h.kind)
	}
	if h.kind == http2.FrameData {
		return l.data(h)
	}
	if at < l.seen && ahead(h.kind) {
		return l.discard(h.length)
	}
	if err := l.count(h.kind); err != nil {
		return err
	}
	if h.length > maxControl {
		return broken(http2.ErrCodeFrameSize, "%v of %d bytes", h.kind, h.length)
	}
	payload, err := l.take(h.length)
	if err != nil {
		return err
	}
	if h.kind == http2.FrameHeaders || h.kind == http2.FrameContinuation {
		return l.headers(h, payload)
	}
	return l.control(h, payload)
}

// count holds a peer that says much and asks nothing. A grant that somebody waits for is progress.
func (l *link) count(kind http2.FrameType) error {
	if kind == http2.FrameWindowUpdate && l.out.waiting.Load() > 0 {
		return nil
	}
	l.calm++
	if l.calm <= calmFrames {
		return nil
	}
	now := time.Now()
	if now.Sub(l.since) < calmFor {
		return broken(http2.ErrCodeEnhanceYourCalm, "%d frames without a message", l.calm)
	}
	l.calm, l.since = 0, now
	return nil
}

// progress says that a message has come.
func (l *link) progress() {
	if l.calm > 0 {
		l.calm, l.since = 0, l.heard
	}
}

// data has the header of a DATA frame.
func (l *link) data(h header) error {
	if h.stream == 0 || h.length > largestFrame {
		return broken(http2.ErrCodeProtocol, "data of stream %d, %d bytes", h.stream, h.length)
	}
	s := l.events.stream(h.stream)
	if h.length == 0 || s == nil || s.ended {
		if err := l.count(h.kind); err != nil {
			return err
		}
	}
	payload := h.length
	l.pad = 0
	if h.flags&http2.FlagDataPadded != 0 {
		b, err := l.take(1)
		if err != nil {
			return err
		}
		if l.pad = int(b[0]); l.pad > h.length-1 {
			return broken(http2.ErrCodeProtocol, "a frame of %d bytes is all padding", h.length)
		}
		payload -= 1 + l.pad
	}
	l.grant(s, h.length)
	l.cur, l.left, l.last = s, payload, h.flags&http2.FlagDataEndStream != 0
	if s == nil || s.ended { // it was ended here, and the peer does not know yet
		l.cur, l.left, l.last = nil, 0, false
		n := payload + l.pad
		l.pad = 0
		return l.discard(n)
	}
	if s.gather > 0 {
		return l.gather(s)
	}
	if l.left == 0 {
		return l.leave()
	}
	return nil
}

// gather adds the data at hand to what has come of its stream.
func (l *link) gather(s *stream) error {
	for l.left > 0 && !s.full {
		if err := l.need(1); err != nil {
			return err
		}
		n := min(l.left, l.w-l.r)
		if s.full = len(s.body)+n > s.gather+prefixBytes; s.full {
			break
		}
		s.body = append(s.body, l.buf[l.r:l.r+n]...)
		l.skip(n)
		l.left -= n
	}
	end := l.last
	if err := l.leave(); err != nil {
		return err
	}
	if end || s.full {
		return l.events.gathered(s)
	}
	return nil
}

// grant gives the peer back the window that a frame of n bytes took, when it has become much.
func (l *link) grant(s *stream, n int) {
	l.owed += n
	if l.owed < windowBytes/4 {
		return
	}
	b := appendWindowUpdate(nil, 0, uint32(l.owed))
	if s != nil && !s.ended {
		// A connection has one stream of any size: what is owed, is owed to it.
		b = appendWindowUpdate(b, s.id, uint32(l.owed))
	}
	l.owed = 0
	l.rare(b)
}

// headers collects a block of them.
func (l *link) headers(h header, payload []byte) error {
	if h.kind == http2.FrameHeaders {
		block, err := headerBlock(h, payload)
		if err != nil {
			return err
		}
		if h.stream == 0 {
			return broken(http2.ErrCodeProtocol, "headers of no stream")
		}
		l.block, l.blockStream = append(l.block[:0], block...), h.stream
		l.blockEnd = h.flags&http2.FlagHeadersEndStream != 0
	} else {
		if l.blockStream == 0 {
			return broken(http2.ErrCodeProtocol, "headers go on that never began")
		}
		l.block = append(l.block, payload...)
	}
	if len(l.block) > maxHeaderBytes {
		return broken(http2.ErrCodeEnhanceYourCalm, "headers of more than %d bytes", maxHeaderBytes)
	}
	if h.flags&http2.FlagHeadersEndHeaders == 0 {
		return nil
	}
	f, err := l.reader.read(l.block)
	if err != nil {
		return err
	}
	id := l.blockStream
	l.blockStream = 0
	return l.events.headers(id, f, l.blockEnd)
}

// ahead reports whether frames of a kind may be dealt with before data in front of them.
func ahead(kind http2.FrameType) bool {
	switch kind {
	case http2.FrameData, http2.FrameHeaders, http2.FrameContinuation, http2.FramePushPromise:
		return false
	}
	return true
}

// control deals with a frame that concerns the connection, or ends a stream.
func (l *link) control(h header, payload []byte) error {
	wrong := func(n int) bool { return len(payload) != n }
	switch h.kind {
	case http2.FrameSettings:
		return l.settings(h, payload)
	case http2.FramePing:
		if wrong(8) || h.stream != 0 {
			return broken(http2.ErrCodeFrameSize, "a ping of %d bytes", len(payload))
		}
		if h.flags&http2.FlagPingAck == 0 {
			l.rare(appendFrame(nil, http2.FramePing, http2.FlagPingAck, 0, payload))
		}
	case http2.FrameWindowUpdate:
		if wrong(4) {
			return broken(http2.ErrCodeFrameSize, "a window of %d bytes", len(payload))
		}
		var s *stream
		if h.stream != 0 {
			if s = l.events.stream(h.stream); s == nil {
				return nil // it has ended
			}
		}
		return l.out.widen(s, binary.BigEndian.Uint32(payload)&maxWindow)
	case http2.FrameRSTStream:
		if wrong(4) || h.stream == 0 {
			return broken(http2.ErrCodeFrameSize, "a reset of %d bytes", len(payload))
		}
		if s := l.events.stream(h.stream); s != nil {
			l.events.reset(s, http2.ErrCode(binary.BigEndian.Uint32(payload)))
		}
	case http2.FrameGoAway:
		if len(payload) < 8 || h.stream != 0 {
			return broken(http2.ErrCodeFrameSize, "a farewell of %d bytes", len(payload))
		}
		l.events.goAway(binary.BigEndian.Uint32(payload)&maxWindow,
			http2.ErrCode(binary.BigEndian.Uint32(payload[4:])))
	case http2.FramePushPromise:
		return broken(http2.ErrCodeProtocol, "a pushed stream")
	}
	return nil // priorities, and what is not known
}

// settings takes the peer's in.
func (l *link) settings(h header, payload []byte) error {
	if h.flags&http2.FlagSettingsAck != 0 {
		return nil
	}
	if len(payload)%6 != 0 || h.stream != 0 {
		return broken(http2.ErrCodeFrameSize, "settings of %d bytes", len(payload))
	}
	for ; len(payload) > 0; payload = payload[6:] {
		v := binary.BigEndian.Uint32(payload[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(payload)) {
		case http2.SettingInitialWindowSize:
			if v > maxWindow {
				return broken(http2.ErrCodeFlowControl, "a window of %d bytes", v)
			}
			if err := l.out.rebase(int64(v)); err != nil {
				return err
			}
		case http2.SettingMaxFrameSize:
			if v < firstFrame || v > largestFrame {
				return broken(http2.ErrCodeProtocol, "frames of %d bytes", v)
			}
			l.out.setFrame(int(v))
		}
	}
	l.settled = true
	l.rare(appendFrame(nil, http2.FrameSettings, http2.FlagSettingsAck, 0, nil))
	return nil
}

package direct

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/http2"
)

const (
	headerBytes = 9 // of a frame
	prefixBytes = 5 // of a message: whether it is compressed, and its length
	frontBytes  = headerBytes + prefixBytes

	// windowBytes and largestFrame are what peers are granted: a message in one frame.
	windowBytes  = 32 << 20
	largestFrame = 1<<24 - 1
	// What HTTP/2 grants before anybody has said anything.
	firstWindow = 1<<16 - 1
	firstFrame  = 1 << 14
	maxWindow   = 1<<31 - 1
	// maxControl bounds every frame but those of data.
	maxControl = 1 << 14
)

// header is that of a frame.
type header struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

func parseHeader(b []byte) header {
	return header{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
	}
}

// put writes h over the beginning of b.
func (h header) put(b []byte) {
	b[0], b[1], b[2] = byte(h.length>>16), byte(h.length>>8), byte(h.length)
	b[3], b[4] = byte(h.kind), byte(h.flags)
	binary.BigEndian.PutUint32(b[5:], h.stream)
}

// appendFrame appends a whole frame.
func appendFrame(
	b []byte, kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte,
) []byte {
	var head [headerBytes]byte
	header{len(payload), kind, flags, stream}.put(head[:])
	return append(append(b, head[:]...), payload...)
}

func appendWindowUpdate(b []byte, stream, n uint32) []byte {
	return appendFrame(b, http2.FrameWindowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, n))
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	return appendFrame(b, http2.FrameRSTStream, 0, stream,
		binary.BigEndian.AppendUint32(nil, uint32(code)))
}

// goAway ends a connection, with the last stream of the peer's that was looked at.
func appendGoAway(b []byte, last uint32, code http2.ErrCode) []byte {
	payload := binary.BigEndian.AppendUint32(nil, last)
	return appendFrame(b, http2.FrameGoAway, 0, 0,
		binary.BigEndian.AppendUint32(payload, uint32(code)))
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	var payload []byte
	for _, s := range settings {
		payload = binary.BigEndian.AppendUint16(payload, uint16(s.ID))
		payload = binary.BigEndian.AppendUint32(payload, s.Val)
	}
	return appendFrame(b, http2.FrameSettings, 0, 0, payload)
}

// protocolError is a peer's breach of HTTP/2, after which nothing more can be understood.
type protocolError struct {
	code http2.ErrCode
	what string
}

func (e *protocolError) Error() string { return fmt.Sprintf("HTTP/2 %v: %s", e.code, e.what) }

func broken(code http2.ErrCode, format string, args ...any) error {
	return &protocolError{code, fmt.Sprintf(format, args...)}
}

// codeOf is how err is said to the peer.
func codeOf(err error) http2.ErrCode {
	var p *protocolError
	if errors.As(err, &p) {
		return p.code
	}
	return http2.ErrCodeNo
}

// unpad takes the padding off a frame's payload.
func unpad(h header, payload []byte) ([]byte, error) {
	if h.flags&http2.FlagDataPadded == 0 {
		return payload, nil
	}
	if len(payload) < 1 || int(payload[0]) > len(payload)-1 {
		return nil, broken(http2.ErrCodeProtocol, "a frame of %d bytes is all padding", h.length)
	}
	return payload[1 : len(payload)-int(payload[0])], nil
}

// headerBlock takes padding and priority off the payload of a HEADERS frame.
func headerBlock(h header, payload []byte) ([]byte, error) {
	block, err := unpad(h, payload)
	if err == nil && h.flags&http2.FlagHeadersPriority != 0 {
		if len(block) < 5 {
			return nil, broken(http2.ErrCodeFrameSize, "headers of %d bytes", h.length)
		}
		block = block[5:]
	}
	return block, err
}

package wire

import "fmt"

// OnePiece lays m, a *Request or a *Response, out in one piece of memory, behind front bytes for
// the transport's own use. Where it can, that is the room in front of the payload, which then
// stays where it is; else it is scratch, which is returned to be used again. The piece is valid
// until ReleasePiece.
func OnePiece(m any, front int, scratch []byte) (piece, newScratch []byte, err error) {
	msg, ok := m.(message)
	if !ok {
		return nil, scratch, fmt.Errorf("a %T is none of the messages of a lane", m)
	}
	p := msg.payload()
	if cap(scratch) < front {
		scratch = make([]byte, front, room)
	}
	scratch = p.appendTag(msg.appendHead(scratch[:front]))
	if p.out != nil && len(scratch) <= room {
		piece = p.out.whole[room-len(scratch):][:len(scratch)+len(p.out.bytes)]
		copy(piece, scratch)
		return piece, scratch, nil
	}
	scratch = append(scratch, p.Bytes()...)
	return scratch, scratch, nil
}

// ReleasePiece says that the bytes of OnePiece have left: the payload's memory is free again.
func ReleasePiece(m any) {
	if msg, ok := m.(message); ok {
		msg.payload().Release()
	}
}

// Decode fills m, a *Request or a *Response, from a message as it comes.
func Decode(from Source, m any) error {
	msg, ok := m.(message)
	if !ok {
		return fmt.Errorf("a %T is none of the messages of a lane", m)
	}
	return decode(reader{from}, msg)
}

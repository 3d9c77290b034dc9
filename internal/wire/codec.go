package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
	"unsafe"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec of every other message
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Codec encodes Request and Response as the protobuf messages they stand for,
// with the payload passed by reference; every other message goes through
// gRPC's own protobuf codec. Force it on Conclave's clients and servers
// (grpc.ForceCodecV2, grpc.ForceServerCodecV2); it is never registered
// globally, because etcd's client shares the process.
func Codec() encoding.CodecV2 { return codec{proto: encoding.GetCodecV2("proto")} }

type codec struct{ proto encoding.CodecV2 }

// Name implements encoding.CodecV2: on the wire this is protobuf.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *Request:
		return withPayload(m.Buffers, &m.Activations, m.appendHead), nil
	case *Response:
		return withPayload(m.Buffers, &m.Outputs, m.appendHead), nil
	}
	return c.proto.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(message)
	if !ok {
		if data.Len() > MaxOtherBytes {
			return fmt.Errorf("a message of %d bytes, more than the limit of %d for its kind",
				data.Len(), MaxOtherBytes)
		}
		return c.proto.Unmarshal(data, v)
	}
	r := data.Reader()
	defer r.Close()
	return decode(reader{r}, m)
}

// MaxOtherBytes bounds the messages besides the two: a short one can announce many more elements
// than it takes to write them down. The largest carries a piece of a weight file.
const MaxOtherBytes = 512 << 10

// Field numbers of both messages; payloadField is the last of each.
const payloadField = 15

// withPayload encodes a head, then the payload's tag and length, then the
// payload itself by reference.
func withPayload(b *Buffers, p *Payload, appendHead func([]byte) []byte) mem.BufferSlice {
	var head *[]byte
	if b != nil {
		head = b.heads.Get(0)
	} else {
		head = new([]byte)
	}
	*head = p.appendTag(appendHead((*head)[:0]))
	if b == nil {
		return mem.BufferSlice{mem.SliceBuffer(*head), p.handOver()}
	}
	return mem.BufferSlice{mem.NewBuffer(head, &b.heads), p.handOver()}
}

// appendTag adds what comes before the payload, if there is one.
func (p *Payload) appendTag(b []byte) []byte {
	n := len(p.Bytes())
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, payloadField, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

func (r *Request) appendHead(b []byte) []byte {
	b = appendUint(b, 1, r.ID)
	b = appendUint(b, 2, r.Epoch)
	b = appendUint(b, 3, uint64(r.Layer))
	b = appendUint(b, 4, uint64(max(r.Timeout, 0)/time.Microsecond))
	b = appendUint(b, 5, uint64(r.Format))
	b = appendUint(b, 6, uint64(r.Tokens))
	b = appendPacked(b, 7, r.Experts)
	b = appendPacked(b, 8, r.RowCounts)
	b = appendPacked(b, 9, r.Rows)
	if len(r.Weights) > 0 {
		b = protowire.AppendTag(b, 10, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(4*len(r.Weights)))
		for _, w := range r.Weights {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(w))
		}
	}
	return appendBool(b, 11, r.Sum)
}

func (r *Response) appendHead(b []byte) []byte {
	b = appendUint(b, 1, r.ID)
	b = appendUint(b, 2, uint64(r.Status))
	if r.Message != "" {
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendString(b, r.Message)
	}
	b = appendUint(b, 4, uint64(r.Format))
	b = appendUint(b, 5, r.Received)
	b = appendUint(b, 6, r.Started)
	b = appendUint(b, 7, r.Finished)
	return appendBool(b, 8, r.Summed)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	return appendUint(b, num, protowire.EncodeBool(v))
}

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendPacked(b []byte, num protowire.Number, vs []uint32) []byte {
	if len(vs) == 0 {
		return b
	}
	n := 0
	for _, v := range vs {
		n += protowire.SizeVarint(uint64(v))
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	for _, v := range vs {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return b
}

// message is what decode fills, one field at a time.
type message interface {
	Reset()
	appendHead(b []byte) []byte
	payload() *Payload
	// field consumes the value of field num; done is false for a field that
	// the message does not know.
	field(r reader, num protowire.Number, typ protowire.Type) (done bool, err error)
}

func decode(r reader, m message) error {
	m.Reset()
	for r.Remaining() > 0 {
		tag, err := r.varint()
		if err != nil {
			return err
		}
		num, typ := protowire.DecodeTag(tag)
		if num < 1 {
			return fmt.Errorf("decode message: field number %d", num)
		}
		done, err := m.field(r, num, typ)
		if err == nil && !done {
			err = r.skip(typ)
		}
		if err != nil {
			return fmt.Errorf("decode message: field %d: %w", num, err)
		}
	}
	return nil
}

func (r *Request) payload() *Payload { return &r.Activations }

func (r *Response) payload() *Payload { return &r.Outputs }

func (r *Request) field(in reader, num protowire.Number, typ protowire.Type) (bool, error) {
	switch num {
	case 7:
		return true, in.uint32s(&r.Experts, typ)
	case 8:
		return true, in.uint32s(&r.RowCounts, typ)
	case 9:
		return true, in.uint32s(&r.Rows, typ)
	case 10:
		return true, in.floats(&r.Weights, typ)
	case payloadField:
		return true, in.payload(&r.Activations, typ)
	}
	if num > 6 && num != 11 {
		return false, nil
	}
	v, err := in.scalar(typ)
	switch num {
	case 1:
		r.ID = v
	case 2:
		r.Epoch = v
	case 3:
		r.Layer = uint32(v)
	case 4:
		const limit = uint64(math.MaxInt64 / time.Microsecond)
		r.Timeout = time.Duration(min(v, limit)) * time.Microsecond
	case 5:
		r.Format = Format(v)
	case 6:
		r.Tokens = uint32(v)
	case 11:
		r.Sum = protowire.DecodeBool(v)
	}
	return true, err
}

func (r *Response) field(in reader, num protowire.Number, typ protowire.Type) (bool, error) {
	switch num {
	case 3:
		return true, in.text(&r.Message, typ)
	case payloadField:
		return true, in.payload(&r.Outputs, typ)
	}
	if num > 8 {
		return false, nil
	}
	v, err := in.scalar(typ)
	switch num {
	case 1:
		r.ID = v
	case 2:
		r.Status = Status(v)
	case 4:
		r.Format = Format(v)
	case 5:
		r.Received = v
	case 6:
		r.Started = v
	case 7:
		r.Finished = v
	case 8:
		r.Summed = protowire.DecodeBool(v)
	}
	return true, err
}

var errWireType = errors.New("unexpected wire type")

// Source is a message that is read as it comes: what mem.Reader is.
type Source interface {
	io.ByteReader
	io.Reader
	// Remaining is how much of the message is left.
	Remaining() int
	Discard(n int) (int, error)
}

// reader reads protobuf values from a message's fragments.
type reader struct{ Source }

func (r reader) varint() (uint64, error) {
	v, err := binary.ReadUvarint(r.Source) // r itself would be allocated as an interface
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

func (r reader) scalar(typ protowire.Type) (uint64, error) {
	if typ != protowire.VarintType {
		return 0, errWireType
	}
	return r.varint()
}

// length reads the length of what follows and holds it to what is there.
func (r reader) length(typ protowire.Type) (int, error) {
	if typ != protowire.BytesType {
		return 0, errWireType
	}
	n, err := r.varint()
	if err == nil && n > uint64(r.Remaining()) {
		err = io.ErrUnexpectedEOF
	}
	return int(n), err
}

// uint32s appends a repeated field in either of its encodings.
func (r reader) uint32s(dst *[]uint32, typ protowire.Type) error {
	if typ == protowire.VarintType {
		v, err := r.varint()
		*dst = append(*dst, uint32(v))
		return err
	}
	n, err := r.length(typ)
	if err != nil {
		return err
	}
	for end := r.Remaining() - n; r.Remaining() > end; {
		v, err := r.varint()
		if err != nil {
			return err
		}
		if r.Remaining() < end {
			return io.ErrUnexpectedEOF
		}
		*dst = append(*dst, uint32(v))
	}
	return nil
}

// floats appends a repeated field in either of its encodings.
func (r reader) floats(dst *[]float32, typ protowire.Type) error {
	n := 4
	if typ != protowire.Fixed32Type {
		var err error
		if n, err = r.length(typ); err != nil {
			return err
		}
	}
	if n%4 != 0 {
		return errors.New("packed floats are not a multiple of 4 bytes")
	}
	for n > 0 {
		at, k := len(*dst), min(n, listBytes)
		*dst = slices.Grow(*dst, k/4)[:at+k/4]
		b := floatBytes((*dst)[at:])
		if _, err := io.ReadFull(r.Source, b); err != nil {
			return io.ErrUnexpectedEOF
		}
		F32.Decode((*dst)[at:], b) // where they lie
		n -= k
	}
	return nil
}

// floatBytes is the memory of x.
func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// listBytes of a list are waited for at once.
const listBytes = 64 << 10

func (r reader) payload(p *Payload, typ protowire.Type) error {
	n, err := r.length(typ)
	if err != nil {
		return err
	}
	// What was only announced takes no memory yet.
	for have := 0; ; {
		body := p.incoming(have, min(n, max(2*have, firstBytes)))
		if _, err := io.ReadFull(r.Source, body[have:]); err != nil {
			return err
		}
		if have = len(body); have == n {
			return nil
		}
	}
}

// firstBytes is what a payload may announce and have at once.
const firstBytes = 1 << 20

// maxText bounds what a peer says to people: it ends up in logs and in answers.
const maxText = 4 << 10

// text reads a string; it is empty on the hot path.
func (r reader) text(dst *string, typ protowire.Type) error {
	n, err := r.length(typ)
	if err == nil && n > maxText {
		err = fmt.Errorf("text of %d bytes is longer than %d", n, maxText)
	}
	if err != nil {
		return err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.Source, b)
	*dst = string(b)
	return err
}

// skip passes over a field that a newer peer knows.
func (r reader) skip(typ protowire.Type) error {
	n := 0
	switch typ {
	case protowire.VarintType:
		_, err := r.varint()
		return err
	case protowire.Fixed32Type:
		n = 4
	case protowire.Fixed64Type:
		n = 8
	case protowire.BytesType:
		var err error
		if n, err = r.length(typ); err != nil {
			return err
		}
	default:
		return errWireType
	}
	_, err := r.Discard(n)
	return err
}

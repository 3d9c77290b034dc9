package membership

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// What others write into the registry is held to these bounds before it is believed; etcd
// itself takes values of 1.5 MiB.
const (
	// maxRecordBytes: the sets of experts of 128 layers with 1,024 each, no two adjacent,
	// fit.
	maxRecordBytes = 512 << 10
	// maxMembers bounds the records of one kind. Those that are there stay.
	maxMembers = 4096
	// maxTextBytes bounds what a record says of itself besides ids, such as addresses.
	maxTextBytes = 256
)

// decodeRecord reads the record of id.
func decodeRecord[T record](id string, data []byte) (value T, err error) {
	if len(data) > maxRecordBytes {
		return value, fmt.Errorf("it has %d bytes, allowed are %d", len(data), maxRecordBytes)
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return value, err
	}
	who := value.identity()
	if who.ID != id {
		return value, fmt.Errorf("it is of %.*q", maxIDBytes, who.ID)
	}
	return value, value.check()
}

// check holds a worker's record to its bounds.
func (w Worker) check() error {
	if w.Capacity < 0 || w.Memory < 0 {
		return fmt.Errorf("capacity %d or memory %d is negative", w.Capacity, w.Memory)
	}
	return checkRecord(w.identity(), w.Addr, w.Gossip, w.Zone, w.Model)
}

// check holds a coordinator's record to its bounds.
func (k Coordinator) check() error {
	return checkRecord(k.identity(), k.Addr, k.Gossip, k.Model)
}

func checkRecord(who identity, texts ...string) error {
	for _, id := range []string{who.ID, who.Incarnation} {
		if err := checkID(id); err != nil {
			return err
		}
	}
	for _, text := range texts {
		if len(text) > maxTextBytes || !printable(text) {
			return fmt.Errorf("%.64q is longer than %d bytes or not for terminals", text, maxTextBytes)
		}
	}
	return nil
}

// printable reports whether people may see s as it is: control sequences would reach their
// terminals.
func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// putRecord decodes kv into records[id]. One that is out of bounds counts as absent.
func putRecord[T record](o *observer, records map[string]T, id string, kv *mvccpb.KeyValue) {
	value, err := decodeRecord[T](id, kv.Value)
	if _, there := records[id]; err == nil && !there && len(records) >= maxMembers {
		err = fmt.Errorf("there are %d already", maxMembers)
	}
	if err != nil {
		delete(records, id)
		o.complain(string(kv.Key), err)
		return
	}
	delete(o.said, string(kv.Key))
	records[id] = value
}

// complain says once what is wrong with a key, until it is right or gone.
func (o *observer) complain(key string, err error) {
	if o.said[key] || len(o.said) >= maxMembers {
		return
	}
	if o.said == nil {
		o.said = map[string]bool{}
	}
	o.said[key] = true
	o.c.log.Warn("ignoring a record that cannot be read",
		"key", fmt.Sprintf("%.256q", key), "err", err)
}

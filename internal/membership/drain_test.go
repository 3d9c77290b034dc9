package membership

import "testing"

func TestOrders(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EmbeddedConfig{})
	c := connect(t, e.Endpoint(), 0)
	states := c.Watch(t.Context())
	until(t, states, "a state", func(s State) bool { return s.Connected })
	if o, err := c.OrderFor(soon(t), "w"); err != nil || o.Do != "" {
		t.Errorf("an order that nobody gave: %+v, %v", o, err)
	}
	if err := c.PutOrder(soon(t), "w", Order{Do: OrderKeep}); err != nil {
		t.Fatal(err)
	}
	s := until(t, states, "the order", func(s State) bool { return s.Orders["w"].Do == OrderKeep })
	first := s.Orders["w"]
	if first.Revision == 0 || first.Given.IsZero() {
		t.Errorf("the order is %+v", first)
	}
	if o, err := c.OrderFor(soon(t), "w"); err != nil || o != first {
		t.Errorf("read %+v, %v; watched %+v", o, err, first)
	}
	if err := c.PutOrder(soon(t), "w", Order{Do: OrderLeave, Incarnation: "1"}); err != nil {
		t.Fatal(err)
	}
	s = until(t, states, "another", func(s State) bool { return s.Orders["w"].Do == OrderLeave })
	// Who obeyed the first must not take back the second.
	if err := c.DeleteOrder(soon(t), "w", first.Revision); err != nil {
		t.Fatal(err)
	}
	if o, err := c.OrderFor(soon(t), "w"); err != nil || o.Incarnation != "1" {
		t.Errorf("after the first was taken back: %+v, %v", o, err)
	}
	if err := c.DeleteOrder(soon(t), "w", s.Orders["w"].Revision); err != nil {
		t.Fatal(err)
	}
	until(t, states, "none", func(s State) bool { return len(s.Orders) == 0 })

	for _, bad := range []string{"{", `{"do":"dance"}`} {
		if _, err := c.etcd.Put(soon(t), c.keys.order("w"), bad); err != nil {
			t.Fatal(err)
		}
		if o, err := c.OrderFor(soon(t), "w"); err != nil || o.Do != "" {
			t.Errorf("%s is read as %+v, %v", bad, o, err)
		}
	}
	if err := c.PutOrder(soon(t), "a/b", Order{Do: OrderKeep}); err == nil {
		t.Error("an order for an impossible id was taken")
	}
	if err := c.PutOrder(soon(t), "v", Order{Do: OrderKeep}); err != nil {
		t.Fatal(err)
	}
	s = until(t, states, "the one that can be read", func(s State) bool { return s.Orders["v"].Do != "" })
	if len(s.Orders) != 1 {
		t.Errorf("orders %+v, want one", s.Orders)
	}
}

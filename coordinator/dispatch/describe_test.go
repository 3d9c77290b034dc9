package dispatch

import "testing"

func TestDescribe(t *testing.T) {
	f := startFake(t, "w")
	is, err := Describe(t.Context(), f.addr)
	if err != nil || is.ID != "w" || is.Model != testModel {
		t.Errorf("described as %+v, %v", is, err)
	}
	f.grpc.Stop()
	if is, err := Describe(t.Context(), f.addr); err == nil {
		t.Errorf("a worker that has stopped describes itself: %+v", is)
	}
}

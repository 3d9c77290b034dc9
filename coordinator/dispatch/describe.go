package dispatch

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/conclave-serve/conclave/internal/wire"
	conclavev1 "github.com/conclave-serve/conclave/proto/conclave/v1"
)

// Description is what a worker says about itself.
type Description struct {
	ID, Incarnation string
	Model           string   // fingerprint of its checkpoint
	Ready           []string // for each layer, as shard.Set writes it
}

// Describe asks the worker at addr who it is and what it serves.
func Describe(ctx context.Context, addr string) (*Description, error) {
	options := append(wire.DialOptions(maxDescription),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:///"+addr, options...)
	if err != nil {
		return nil, fmt.Errorf("ask the worker at %s: %w", addr, err)
	}
	defer conn.Close()
	is, err := conclavev1.NewExpertServiceClient(conn).Describe(ctx, &conclavev1.DescribeRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the worker at %s: %w", addr, err)
	}
	return &Description{
		ID: is.GetWorkerId(), Incarnation: is.GetIncarnation(), Model: is.GetModel(),
		Ready: is.GetReady(),
	}, nil
}

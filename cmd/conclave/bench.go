package main

// benchCommand is the group of commands that measure.
type benchCommand struct {
	Kernels benchKernelsCommand `cmd:"" help:"Measure this machine's ceilings, and every kernel against them."`
	Hop     benchHopCommand     `cmd:"" help:"Measure the hop to a worker against a bare socket."`
	Model   benchModelCommand   `cmd:"" help:"Measure steps of a model, and where their time goes."`
	Serve   benchServeCommand   `cmd:"" help:"Put load on an OpenAI-compatible server and report how it did."`
}

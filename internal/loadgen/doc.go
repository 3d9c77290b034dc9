// Package loadgen puts load on an OpenAI-compatible server and reports how it did: times to the
// first token and between tokens, throughput, goodput. It measures any server of that API from the
// outside, Conclave as well as vLLM or llama.cpp's.
//
// It owns what is asked (workload), when (arrivals), how an answer is read and timed (exchange),
// and what the figures mean (report). It must not know anything of Conclave: it sees HTTP.
//
// Invariants:
//
//   - What request i asks and when it is due depend on the configuration and the seed alone, not
//     on how fast the server answers.
//   - A time is taken when an event has been read, before it is parsed. A token is counted when
//     it can be seen: the first event with text, reasoning or a call, not the first byte.
//   - Whatever the server sends is bounded, and never a panic: events, answers, lists.
//   - Run returns after every request that it sent has ended, also when its context has.
//   - Nothing is retried. A request that fails is in the report by the kind of its failure.
//
// Example:
//
//	report, err := loadgen.Run(ctx, loadgen.Config{
//		URL: "http://127.0.0.1:8080", Load: loadgen.Load{Concurrency: 8, Requests: 100},
//	})
//	if err != nil {
//		return err
//	}
//	return report.WriteTable(os.Stdout)
package loadgen

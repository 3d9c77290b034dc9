// Package client talks to a running coordinator as any OpenAI client would:
// the command line's chat and status use it. It knows HTTP and the API's JSON
// and nothing of what is behind them.
package client
